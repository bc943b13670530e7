// SPDX-License-Identifier: Apache-2.0
import ControlSocket
import Logging
import NetworkConfiguration
import Platform
import Sessions
import Uplink

extension Capabilities {
    /// The capabilities that a running daemon needs until its end. All others are dropped after the start.
    static func needed(by configuration: Configuration) -> Capabilities {
        // The firewall, forwarding, the simulated vmnet's TAP; and socket buffers beyond the system's limit.
        var needed: Capabilities = .netAdmin
        // Listing rules by iptables-save.
        if configuration.uplink != .none { needed.insert(.netRaw) }
        var servesDirectory = false, hasConsole = false, joins = false
        switch configuration.role {
        case .client: joins = true
        case .server(let own):
            servesDirectory = own.path != nil
            hasConsole = own.console != nil
        }
        let listeners = configuration.listeners
        let hasListeners =
            !listeners.paths.isEmpty || !listeners.activated.isEmpty || !listeners.namespaces.isEmpty
        // Sockets of guests that run as other users, which only those users can open; sockets in directories of other
        // users; the database of Open vSwitch, which may be closed to root's group.
        if servesDirectory || joins || hasConsole || hasListeners || configuration.pidfile != nil
            || configuration.mode.isBridged
        {
            needed.formUnion([.dacOverride, .fileOwner])
        }
        // Ports that clients of the control socket publish.
        if configuration.control.place != .off, configuration.uplink != .none, configuration.mode == .shared {
            needed.insert(.netBindService)
        }
        // The control socket, in a directory of another user.
        if case .path = configuration.control.place { needed.formUnion([.dacOverride, .fileOwner]) }
        // Each guest's data socket is given to its user, and the data socket on another switch to that switch's group.
        if servesDirectory || joins { needed.insert(.chown) }
        // Signals for the program of `run`, which runs as the caller.
        if let user = listeners.programUser, user.user != CurrentProcess.effectiveUser { needed.insert(.kill) }
        return needed
    }
}

extension Privileges {
    /// Drops the capabilities that are not needed, and logs if that fails.
    static func drop(_ logger: Logger) {
        do throws(SystemError) {
            try drop()
        } catch {
            logger.warning("\(error); this process keeps privileges that it does not need")
        }
    }
}
