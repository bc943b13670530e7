// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// The parts into which Linux divides root's rights (capabilities(7)), as far as we need any.
package struct Capabilities: OptionSet, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Give files to another user.
    package static let chown = Capabilities(rawValue: 1 << 0)
    /// Read, write and enter whatever its permissions say.
    package static let dacOverride = Capabilities(rawValue: 1 << 1)
    /// Do what a file's owner may.
    package static let fileOwner = Capabilities(rawValue: 1 << 3)
    /// Signal other users' processes.
    package static let kill = Capabilities(rawValue: 1 << 5)
    /// Interfaces, addresses, routes, firewall, settings below net/, socket buffers beyond the system's limit.
    package static let netAdmin = Capabilities(rawValue: 1 << 12)
    /// Raw and packet sockets.
    package static let netRaw = Capabilities(rawValue: 1 << 13)
}

/// What this process may do beside what its user may.
package enum Privileges {
    /// Chooses what is kept. Threads that are started from now on keep that alone; the calling one does from `drop` on.
    /// Programs that this process starts after `drop` get no more either, set-user-id ones included.
    package static func keep(_ capabilities: Capabilities) { platform_privileges_keep(capabilities.rawValue) }

    /// Gives up, for the calling thread and for good, what is not kept. Does nothing on macOS.
    package static func drop() throws(SystemError) {
        try SystemError.check(platform_privileges_drop(), "give up privileges")
    }
}

extension Files {
    /// Opens a file for reading: started through sudo, with the rights of the user who called that, so that nothing is
    /// shown that this user may not read. Does not wait for the other end of a FIFO.
    package static func openForCaller(_ path: String) throws(SystemError) -> Descriptor {
        guard let caller = Accounts.sudoCaller, caller.user != 0 else {
            return try open(path, [.readOnly, .nonBlocking])
        }
        let groups = Accounts.groups(of: caller.user, caller.group)
        return Descriptor(
            adopting: try SystemError.check(
                unsafe platform_open_as(path, caller.user, caller.group, groups, Int32(groups.count)), "open", path))
    }
}
