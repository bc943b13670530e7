// SPDX-License-Identifier: Apache-2.0
import Switching
import VDESwitch

// What the control socket reads and changes at the ports of this process's switch.

extension SwitchSession {
    /// The client at a port; nil for a port of the host that has no connection.
    package func client(of attachment: PortNumber) -> PortClient? {
        guard let number = virtualSwitch.number(of: attachment),
            let port = virtualSwitch.ports[number],
            let end = port.connections.first(where: { $0.attachment == attachment })
        else { return nil }
        return PortClient(
            number: number, module: end.module, description: end.description, user: port.user,
            process: process(ofEnd: end.identifier))
    }

    /// Disconnects all clients of a numbered port.
    package func disconnect(port number: Int) throws(PortRefusal) {
        guard let port = virtualSwitch.ports[number], port.isActive else {
            throw PortRefusal(.noPort, "port \(number) has no client; vde_vmnet port list shows those that have")
        }
        let ends = port.connections.map(\.identifier)
        guard !port.connections.contains(where: { $0.module == "tuntap" }) else {
            throw PortRefusal(.unsupported, "port \(number) is this host's own, and cannot be disconnected")
        }
        for end in ends { disconnect(end: end, of: number) }
    }

    /// Sets the VLAN of a port, and creates the VLAN if it is missing.
    package func setVLAN(_ vlan: Int, of number: Int) throws(PortRefusal) {
        try checkIsOfGuests(number)
        do throws(ConsoleError) {
            if vlan != 0, UInt16(exactly: vlan).map({ virtualSwitch.taggedPorts[$0] == nil }) ?? true {
                try virtualSwitch.createVLAN(vlan)
            }
            try virtualSwitch.setUntaggedVLAN(number, vlan)
        } catch {
            switch error {
            case .noSuch: throw PortRefusal(.noPort, "there is no port \(number); vde_vmnet port list shows the ports")
            default:
                throw PortRefusal(
                    .invalid, "port \(number), VLAN \(vlan): a VLAN is 0 for none, or 1 to 4093, and a port exists")
            }
        }
    }

    private func checkIsOfGuests(_ number: Int) throws(PortRefusal) {
        guard let port = virtualSwitch.ports[number] else {
            throw PortRefusal(.noPort, "there is no port \(number); vde_vmnet port list shows the ports")
        }
        guard !port.connections.contains(where: { isHostDevice($0.attachment) }) else {
            throw PortRefusal(.unsupported, "port \(number) is the uplink; VLANs, isolation and limits are for guests")
        }
    }

    /// Calls `body` for a port that may have guests.
    private func change(_ number: Int, _ body: () throws(ConsoleError) -> Void) throws(PortRefusal) {
        try checkIsOfGuests(number)
        do throws(ConsoleError) {
            try body()
        } catch {
            throw PortRefusal(.noPort, "there is no port \(number); vde_vmnet port list shows the ports")
        }
    }

    /// Keeps the guests of a port from all others, or no longer.
    package func setIsolated(_ isIsolated: Bool, port number: Int) throws(PortRefusal) {
        try change(number) { () throws(ConsoleError) in try virtualSwitch.setIsolated(number, isIsolated) }
    }

    /// Limits the rate of a port; nil for no limit.
    package func setLimit(_ limit: RateLimit?, port number: Int) throws(PortRefusal) {
        try change(number) { () throws(ConsoleError) in try virtualSwitch.setLimit(number, limit) }
    }

    /// The settings of a port; nil if there is no such port.
    package func settings(of number: Int) -> PortSettings? {
        virtualSwitch.ports[number].map { port in
            PortSettings(
                vlan: Int(port.untaggedVLAN), isIsolated: port.isIsolated, limit: port.limit,
                hasGuests: port.isActive && !port.connections.contains { isHostDevice($0.attachment) })
        }
    }

    /// Some port is isolated.
    package var hasIsolatedPorts: Bool { virtualSwitch.hasIsolatedPorts }
}
