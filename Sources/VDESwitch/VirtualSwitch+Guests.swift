// SPDX-License-Identifier: Apache-2.0
import Switching

// Settings of a port that concern its guests, beyond those of vde_switch. They stay with the port's number.

extension VirtualSwitch {
    /// Keeps the clients of a port from all other guests, or no longer.
    package func setIsolated(_ number: Int, _ isIsolated: Bool) throws(ConsoleError) {
        try change(number) { $0.isIsolated = isIsolated }
        for end in ports[number]?.connections ?? [] { control.setIsolation(isIsolated, of: end.attachment) }
    }

    /// Limits the rate of each connection of a port, each way; nil for no limit.
    package func setLimit(_ number: Int, _ limit: RateLimit?) throws(ConsoleError) {
        try change(number) { $0.limit = limit }
        for end in ports[number]?.connections ?? [] { control.setLimit(limit, of: end.attachment) }
    }

    /// Whether the clients of some port are kept from all other guests.
    package var hasIsolatedPorts: Bool { ports.values.contains { $0.isIsolated } }
}
