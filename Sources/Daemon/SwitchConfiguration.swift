// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import VDESwitch

/// What kind of switch the daemon is to be.
package struct SwitchConfiguration: Sendable {
    /// A console on a socket of its own.
    package struct Console: Equatable, Sendable {
        package var path: String
        package var mode: UInt16
        package var group: UInt32?

        package init(path: String, mode: UInt16 = 0o600, group: UInt32? = nil) {
            self.path = path
            self.mode = mode
            self.group = group
        }
    }

    /// The directory by which clients find it; nil for none, where they come in through other listeners only.
    package var path: String?
    package var access = SwitchAccess()
    /// The highest port number.
    package var portLimit = 1000
    package var console: Console?
    /// Console commands that are carried out at start.
    package var commandFile: String?
    package var isHub = false
    /// TAPs that become ports, and are the host's to configure.
    package var taps: [String] = []
    /// Ports that lead to further clients, such as another switch.
    package var trunks: Set<Int> = []
    /// A console on standard input, whose end is the switch's end.
    package var readsStandardInput = false

    package init(path: String?) { self.path = path }

    /// Where vde_switch has its directory when it is not told.
    package static var defaultPath: String { Accounts.effectiveUser == 0 ? "/var/run/vde.ctl" : "/tmp/vde.ctl" }

    /// Programs that connect their port to another switch, by how they introduce themselves.
    private static let cables = [
        "vdeplug:", "vde_crosscable", "vde_cryptcab", "vde_over_ns", "vde_pcapplug:", "vde_vmnet user=",
    ]

    /// How many clients a port leads to.
    /// - Parameter program: what has joined there.
    func reach(of port: Int, program: String = "") -> PortReach {
        trunks.contains(port) || SwitchConfiguration.cables.contains { program.hasPrefix($0) } ? .trunk : .guest
    }
}
