// SPDX-License-Identifier: Apache-2.0
import NetworkConfiguration

/// How a start reads its command line (`DirectOptions`).
extension Join {
    /// The options in a command line of `join`, and their configuration.
    /// - Parameter arguments: as `Root.normalized` returns them.
    /// - Returns: nil for a command line that only the argument parser reads: of another command, with an error, or
    ///   with words in an unusual form.
    static func direct(_ arguments: [String]) -> (join: Join, configuration: Configuration)? {
        // A word before the options may be a subcommand.
        guard arguments.first.map({ $0.hasPrefix("-") || $0.contains("/") }) ?? true,
            let join = Join.reading(arguments), let configuration = try? join.makeConfiguration()
        else { return nil }
        return (join, configuration)
    }

    /// The options in `arguments`; nil if one is unknown, has no value or an invalid one.
    static func reading(_ arguments: [String]) -> Join? {
        var join = Join.defaults
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
                guard join.setAny(option[..<mark], String(option[option.index(after: mark)...])) else { return nil }
            } else if !join.setAny(flag: option) {
                guard index < arguments.count, !arguments[index].isEmpty, !arguments[index].hasPrefix("-"),
                    join.setAny(option, arguments[index])
                else { return nil }
                index += 1
            }
        }
        return join
    }

    /// Sets a flag of this command or of one of its groups.
    private mutating func setAny(flag name: Substring) -> Bool {
        own.set(flag: name)
            || listeners.set(flag: name)
            || vmnet.set(flag: name)
            || addresses.set(flag: name)
            || leases.set(flag: name)
            || policy.set(flag: name)
    }

    /// Sets an option with a value, of this command or of one of its groups.
    private mutating func setAny(_ name: Substring, _ value: String) -> Bool {
        set(name, value)
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
}

extension Run {
    /// The same for a command line of `run`.
    static func direct(_ arguments: [String]) -> (run: Run, configuration: Configuration)? {
        guard arguments.first == "run", let end = arguments.firstIndex(of: "--"),
            let network = Join.reading(Array(arguments[1..<end]))
        else { return nil }
        var run = Run()
        run.network = network
        run.command = Array(arguments[(end + 1)...])
        guard !run.command.isEmpty, let configuration = try? run.makeConfiguration() else { return nil }
        return (run, configuration)
    }
}
