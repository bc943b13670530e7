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

    /// The group whose members may join a network where nobody is told, as the C vde_vmnet had it: `staff` on macOS,
    /// which holds everybody.
    package static var defaultSocketGroup: UInt32? {
        #if canImport(Darwin)
            group(named: "staff")
        #else
            nil
        #endif
    }

    package static func user(named name: String) -> UInt32? {
        guard let entry = unsafe getpwnam(name) else { return UInt32(name) }
        return unsafe entry.pointee.pw_uid
    }

    /// A group's name, or the number in decimal.
    package static func groupName(_ group: UInt32) -> String {
        guard let entry = unsafe getgrgid(group) else { return String(group) }
        return unsafe String(cString: entry.pointee.gr_name)
    }

    /// True if `group` is the user's own, or lists it.
    package static func isMember(_ user: UInt32, of group: UInt32) -> Bool {
        guard let entry = unsafe getpwuid(user) else { return false }
        if unsafe entry.pointee.pw_gid == group { return true }
        let name = unsafe String(cString: entry.pointee.pw_name)
        guard let found = unsafe getgrgid(group), var member = unsafe found.pointee.gr_mem else { return false }
        while let text = unsafe member.pointee {
            if unsafe String(cString: text) == name { return true }
            unsafe member += 1
        }
        return false
    }

    /// True if `group` is the one that has the user's name and no other member, as systems make one for each user.
    package static func isPrivate(_ group: UInt32, of user: UInt32) -> Bool {
        guard let account = unsafe getpwuid(user), unsafe account.pointee.pw_gid == group else { return false }
        let name = unsafe String(cString: account.pointee.pw_name)
        guard let found = unsafe getgrgid(group), unsafe String(cString: found.pointee.gr_name) == name,
            var member = unsafe found.pointee.gr_mem
        else { return false }
        while let text = unsafe member.pointee {
            if unsafe String(cString: text) != name { return false }
            unsafe member += 1
        }
        return true
    }

    /// True for the number that stands for all users whom this process's user namespace does not know
    /// (user_namespaces(7)).
    package static func isUnmapped(_ user: UInt32) -> Bool {
        guard let overflow = Files.text("/proc/sys/kernel/overflowuid").flatMap({ UInt32($0) }), user == overflow,
            let map = Files.text("/proc/self/uid_map")
        else { return false }
        return !map.split(separator: "\n").contains { line in
            let numbers = line.split(whereSeparator: \.isWhitespace).compactMap { UInt64($0) }
            return numbers.count == 3 && (numbers[0]..<numbers[0] + numbers[2]).contains(UInt64(user))
        }
    }

    /// A user's name, or the number in decimal.
    package static func userName(_ user: UInt32) -> String {
        guard let entry = unsafe getpwuid(user) else { return String(user) }
        return unsafe String(cString: entry.pointee.pw_name)
    }

    /// Who called us through sudo(8), if that is how we were started.
    package static var sudoCaller: (user: UInt32, group: UInt32)? {
        guard geteuid() == 0, let user = environment("SUDO_UID").flatMap({ UInt32($0) }),
            let group = environment("SUDO_GID").flatMap({ UInt32($0) })
        else { return nil }
        return (user, group)
    }

    /// The groups of a user, `group` among them.
    static func groups(of user: UInt32, _ group: UInt32) -> [UInt32] {
        guard let entry = unsafe getpwuid(user) else { return [group] }
        var groups = [UInt32](repeating: 0, count: 64)
        let count = unsafe platform_groups(entry.pointee.pw_name, group, &groups, Int32(groups.count))
        return Array(groups.prefix(Int(count)))
    }

    /// The user whose number this is, with the home directory; nil if the system knows none.
    package static func account(_ user: UInt32) -> (name: String, group: UInt32, home: String)? {
        guard let entry = unsafe getpwuid(user) else { return nil }
        return unsafe (
            String(cString: entry.pointee.pw_name), entry.pointee.pw_gid, String(cString: entry.pointee.pw_dir)
        )
    }

    package static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    /// True if a process with this id exists, whoever owns it.
    package static func isAlive(_ process: Int32) -> Bool {
        process > 0 && (kill(process, 0) == 0 || Errno.last == EPERM)
    }

    /// True if a process with this id exists and is of this user, as far as the system tells (not on macOS).
    package static func isAlive(_ process: Int32, asUser user: UInt32) -> Bool {
        guard isAlive(process) else { return false }
        guard let status = try? Files.status("/proc/\(process)") else { return true }
        // Root's are also those that a program with capabilities of its own keeps from others' eyes (proc(5)).
        return status.owner == user || status.owner == 0
    }

    /// Sends a signal. Returns false if there is no such process or it is not ours to signal.
    @discardableResult
    package static func signal(_ process: Int32, _ number: Int32) -> Bool { kill(process, number) == 0 }
}
