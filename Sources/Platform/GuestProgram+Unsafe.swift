// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// A program, such as a VMM, that is connected to its network by descriptor 3.
package enum GuestProgram {
    /// The user that the program runs as.
    package struct User: Equatable, Sendable {
        /// The login name, by which the supplementary groups are found (initgroups(3)).
        package let name: String
        /// The user id.
        package let user: UInt32
        /// The id of the primary group.
        package let group: UInt32

        package init(name: String, user: UInt32, group: UInt32) {
            self.name = name
            self.user = user
            self.group = group
        }
    }

    /// Starts it in this process's group, with this process's standard streams and default signal handling.
    /// - Parameters:
    ///   - descriptor: the program's descriptor 3; it stays the caller's.
    ///   - user: nil: this process's user.
    ///   - environment: added to, or replacing, this process's own.
    package static func start(
        _ arguments: [String], descriptor: Int32, user: User?, environment: [String: String]
    ) throws(SystemError) -> ChildProcess {
        var groups = [UInt32](repeating: 0, count: 64)
        var count: Int32 = 0
        if let user { count = unsafe platform_groups(user.name, user.group, &groups, Int32(groups.count)) }
        var process: Int32 = 0
        let variables = ChildProcess.variables(environment.mapValues { $0 })
        let result = unsafe ChildProcess.withCStrings(arguments) { arguments in
            unsafe ChildProcess.withCStrings(variables) { variables in
                unsafe platform_spawn_guest(
                    arguments[0], arguments, variables, descriptor, user?.user ?? CurrentProcess.effectiveUser,
                    user?.group ?? 0, groups, count, &process)
            }
        }
        try SystemError.check(result, "start", arguments[0])
        return ChildProcess(identifier: process)
    }

    /// Replaces this process by the program, as exec(3) does. Returns only by throwing.
    package static func exec(_ arguments: [String], descriptor: Int32) throws(SystemError) {
        let result = unsafe ChildProcess.withCStrings(arguments) { unsafe platform_become($0[0], $0, descriptor) }
        try SystemError.check(result, "start", arguments[0])
    }
}
