// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// A program that has its network on descriptor 3.
package enum GuestProgram {
    /// A user to run it as.
    package struct User: Equatable, Sendable {
        package let name: String
        package let user: UInt32
        package let group: UInt32

        package init(name: String, user: UInt32, group: UInt32) {
            self.name = name
            self.user = user
            self.group = group
        }
    }

    /// Starts it in our process group, with our standard streams and default signal handling.
    /// - Parameters:
    ///   - descriptor: becomes its descriptor 3; it stays the caller's.
    ///   - user: nil for our own.
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
                    arguments[0], arguments, variables, descriptor, user?.user ?? Accounts.effectiveUser,
                    user?.group ?? 0, groups, count, &process)
            }
        }
        try SystemError.check(result, "start", arguments[0])
        return ChildProcess(identifier: process)
    }

    /// Becomes the program. Returns only by throwing.
    package static func become(_ arguments: [String], descriptor: Int32) throws(SystemError) {
        let result = unsafe ChildProcess.withCStrings(arguments) { unsafe platform_become($0[0], $0, descriptor) }
        try SystemError.check(result, "start", arguments[0])
    }
}
