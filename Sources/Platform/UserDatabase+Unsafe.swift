// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

/// The system's users and groups (getpwnam(3), getgrnam(3)).
package enum UserDatabase {
    /// The number of a group; a name that is a number stands for itself.
    package static func group(named name: String) -> UInt32? {
        guard let entry = unsafe getgrnam(name) else { return UInt32(name) }
        return unsafe entry.pointee.gr_gid
    }

    /// The number of a user; a name that is a number stands for itself.
    package static func user(named name: String) -> UInt32? {
        guard let entry = unsafe getpwnam(name) else { return UInt32(name) }
        return unsafe entry.pointee.pw_uid
    }

    /// A group's name, or the number in decimal.
    package static func groupName(_ group: UInt32) -> String {
        guard let entry = unsafe getgrgid(group) else { return String(group) }
        return unsafe String(cString: entry.pointee.gr_name)
    }

    /// True if `group` is the user's primary group, or lists the user.
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

    /// True if `group` is a user private group: the user's primary group, with the user's name and no other member.
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

    /// True for the number that stands for all users that this process's user namespace does not map
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

    /// The groups of a user, `group` among them.
    static func groups(of user: UInt32, _ group: UInt32) -> [UInt32] {
        guard let entry = unsafe getpwuid(user) else { return [group] }
        var groups = [UInt32](repeating: 0, count: 64)
        let count = unsafe platform_groups(entry.pointee.pw_name, group, &groups, Int32(groups.count))
        return Array(groups.prefix(Int(count)))
    }

    /// The name, primary group and home directory of a user; nil if the database has no such user.
    package static func account(_ user: UInt32) -> (name: String, group: UInt32, home: String)? {
        guard let entry = unsafe getpwuid(user) else { return nil }
        return unsafe (
            String(cString: entry.pointee.pw_name), entry.pointee.pw_gid, String(cString: entry.pointee.pw_dir)
        )
    }
}
