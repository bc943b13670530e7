// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import VDESwitch

/// The properties of the switch that this process is.
package struct SwitchConfiguration: Sendable {
    /// A management console on a socket.
    package struct Console: Equatable, Sendable {
        /// The socket's path.
        package var path: String
        /// The socket's mode.
        package var mode: UInt16
        /// The socket's group; nil for the default.
        package var group: UInt32?

        /// - Parameters:
        ///   - mode: of the socket.
        ///   - group: of the socket; nil for the default.
        package init(path: String, mode: UInt16 = 0o600, group: UInt32? = nil) {
            self.path = path
            self.mode = mode
            self.group = group
        }
    }

    /// The directory by which VDE clients connect; nil for none, if all clients use other listeners.
    package var path: String?
    /// Owner and mode of the directory and its sockets.
    package var access = SwitchAccess()
    /// The highest port number.
    package var portLimit = 1000
    /// nil: there is no console socket.
    package var console: Console?
    /// A file with console commands that are executed at the start.
    package var commandFile: String?
    /// Frames go to all ports.
    package var isHub = false
    /// TAPs that become ports. The host's administrator configures them.
    package var taps: [String] = []
    /// Ports that lead to several guests, such as another switch.
    package var trunks: Set<Int> = []
    /// The limit of the rate of each guest's port, each way; nil for none.
    package var limit: RateLimit?
    /// There is a console on standard input, whose end is the switch's end.
    package var readsStandardInput = false

    /// - Parameter path: the directory; nil for none.
    package init(path: String?) { self.path = path }

    /// The default directory of vde_switch.
    package static var defaultPath: String { CurrentProcess.effectiveUser == 0 ? "/var/run/vde.ctl" : "/tmp/vde.ctl" }

    /// Programs that connect their port to another switch, by the description that they send.
    private static let cables = [
        "vdeplug:", "vde_crosscable", "vde_cryptcab", "vde_over_ns", "vde_pcapplug:", "vde_vmnet user=",
    ]

    /// How many guests a port leads to.
    /// - Parameter program: the client's description of itself.
    func reach(of port: Int, program: String = "") -> PortReach {
        trunks.contains(port) || SwitchConfiguration.cables.contains { program.hasPrefix($0) } ? .trunk : .guest
    }
}
