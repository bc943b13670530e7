// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform

extension Capabilities {
    /// What a daemon that runs needs of root's rights until its end. Everything else is given up when it has started.
    static func needed(by configuration: Configuration) -> Capabilities {
        // The firewall, forwarding, the simulated vmnet's TAP; and socket buffers beyond the system's limit.
        var needed: Capabilities = .netAdmin
        // Listing rules by iptables-save, and pings of guests in user mode.
        if configuration.uplink != .none { needed.insert(.netRaw) }
        var servesDirectory = false, hasConsole = false, joins = false
        switch configuration.side {
        case .join: joins = true
        case .serve(let own):
            servesDirectory = own.path != nil
            hasConsole = own.console != nil
        }
        let listeners = configuration.listeners
        let hasListeners = !listeners.streams.isEmpty || !listeners.datagrams.isEmpty || !listeners.activated.isEmpty
        // Sockets of machines that run as other users, each closed to all but its user; sockets of ours in directories
        // of other users, which are made and removed there; the database of Open vSwitch, which may be closed to root's
        // group.
        if servesDirectory || joins || hasConsole || hasListeners || configuration.pidfile != nil
            || configuration.mode.isBridged
        {
            needed.formUnion([.dacOverride, .fileOwner])
        }
        // Each machine's data socket is given to its user, ours on another switch to the group of that.
        if servesDirectory || joins { needed.insert(.chown) }
        // The program of `run` is the caller's.
        if let user = listeners.programUser, user.user != Accounts.effectiveUser { needed.insert(.kill) }
        return needed
    }
}

extension Privileges {
    /// Gives up what is not kept; says so where that is not to be had.
    static func drop(_ logger: Logger) {
        do throws(SystemError) {
            try drop()
        } catch {
            logger.warning("\(error); this process keeps rights that it does not need")
        }
    }
}
