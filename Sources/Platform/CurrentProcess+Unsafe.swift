// SPDX-License-Identifier: Apache-2.0
import CLibrary

/// The process that this code runs in.
package enum CurrentProcess {
    /// The effective user (geteuid(2)).
    package static var effectiveUser: UInt32 { geteuid() }
    /// The effective group id.
    package static var effectiveGroup: UInt32 { getegid() }

    /// The process id.
    package static var identifier: Int32 { getpid() }

    /// True if the program runs with more than its caller's rights (set-user-id or set-group-id).
    package static var isSetID: Bool { getuid() != geteuid() || getgid() != getegid() }

    /// The user and group that started this process through sudo(8); nil without sudo.
    package static var sudoCaller: (user: UInt32, group: UInt32)? {
        guard geteuid() == 0, let user = environment("SUDO_UID").flatMap({ UInt32($0) }),
            let group = environment("SUDO_GID").flatMap({ UInt32($0) })
        else { return nil }
        return (user, group)
    }

    /// A variable of the environment; nil if it is not set.
    package static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }
}
