// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// This process, and the system's users and groups.
package enum Accounts {
    package static var effectiveUser: UInt32 { geteuid() }
    package static var processID: Int32 { getpid() }

    /// True if the program runs with more than its caller's rights (set-user-id or set-group-id).
    package static var isSetID: Bool { getuid() != geteuid() || getgid() != getegid() }

    package static func group(named name: String) -> UInt32? {
        guard let entry = unsafe getgrnam(name) else { return UInt32(name) }
        return unsafe entry.pointee.gr_gid
    }

    /// A user's name, or the number in decimal.
    package static func userName(_ user: UInt32) -> String {
        guard let entry = unsafe getpwuid(user) else { return String(user) }
        return unsafe String(cString: entry.pointee.pw_name)
    }

    package static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    /// True if a process with this id exists, whoever owns it.
    package static func isAlive(_ process: Int32) -> Bool { process > 0 && (kill(process, 0) == 0 || errno == EPERM) }

    /// Sends a signal. Returns false if there is no such process or it is not ours to signal.
    @discardableResult
    package static func signal(_ process: Int32, _ number: Int32) -> Bool { kill(process, number) == 0 }
}
