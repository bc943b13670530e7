// SPDX-License-Identifier: Apache-2.0
import Daemon

/// How a start reads its command line (`DirectOptions`).
extension Join {
    /// The options in a command line of `join`, and their configuration.
    /// - Parameter arguments: as `Root.normalized` returns them.
    /// - Returns: nil for a command line that only the argument parser reads: of another command, with an error, or
    ///   with words in an unusual form.
    static func direct(_ arguments: [String]) -> (join: Join, configuration: Configuration)? {
        // A word in front of the options may be a subcommand.
        guard arguments.first.map({ $0.hasPrefix("-") || $0.contains("/") }) ?? true,
            let join = Join.reading(arguments), let configuration = try? join.makeConfiguration()
        else { return nil }
        return (join, configuration)
    }

    /// The options in `arguments`; nil if one is unknown, has no value or an invalid one.
    static func reading(_ arguments: [String]) -> Join? {
        var join = Join.defaults
        var own = join.own
        var listeners = join.listeners
        var vmnet = join.vmnet
        var addresses = join.addresses
        var leases = join.leases
        var servers = join.servers
        var publishing = join.publishing
        var policy = join.policy
        var controlling = join.controlling
        var threads = join.threads
        func set(flag name: Substring) -> Bool {
            own.set(flag: name)
                || vmnet.set(flag: name)
                || addresses.set(flag: name)
                || leases.set(flag: name)
                || policy.set(flag: name)
        }
        func set(_ name: Substring, _ value: String) -> Bool {
            join.set(name, value)
                || own.set(name, value)
                || listeners.set(name, value)
                || vmnet.set(name, value)
                || addresses.set(name, value)
                || leases.set(name, value)
                || servers.set(name, value)
                || publishing.set(name, value)
                || policy.set(name, value)
                || controlling.set(name, value)
                || threads.set(name, value)
        }
        var index = 0
        while index < arguments.count {
            let word = arguments[index]
            index += 1
            guard word.hasPrefix("-") else {
                if join.vde != nil || word.isEmpty { return nil }
                join.vde = word
                continue
            }
            guard word.hasPrefix("--") else { return nil }
            let option = word.dropFirst(2)
            if let mark = option.firstIndex(of: "=") {
                guard set(option[..<mark], String(option[option.index(after: mark)...])) else { return nil }
            } else if !set(flag: option) {
                guard index < arguments.count, !arguments[index].isEmpty, !arguments[index].hasPrefix("-"),
                    set(option, arguments[index])
                else { return nil }
                index += 1
            }
        }
        join.own = own
        join.listeners = listeners
        join.vmnet = vmnet
        join.addresses = addresses
        join.leases = leases
        join.servers = servers
        join.publishing = publishing
        join.policy = policy
        join.controlling = controlling
        join.threads = threads
        return join
    }
}
