// SPDX-License-Identifier: Apache-2.0
import Platform

/// A network namespace: a host of its own on this machine, deleted with the value.
package final class Namespace {
    private static let counter = Guarded(0)
    private static let prefix = "vde_vmnet-"

    package let name: String

    /// - Parameter role: part of the name, for whoever looks at `ip netns`.
    package init(_ role: String) throws {
        Namespace.sweepOnce
        let number = Namespace.counter.withLock { count in
            count += 1
            return count
        }
        name = "\(Namespace.prefix)\(Accounts.processID)-\(number)-\(role)"
        try run("ip", "netns", "add", name, inside: false)
        try ip("link", "set", "lo", "up")
    }

    deinit { _ = try? ChildProcess.run(["ip", "netns", "del", name]) }

    /// Removes what earlier runs left that were killed.
    private static let sweepOnce: Void = {
        for name in (try? Files.entries("/run/netns")) ?? [] where name.hasPrefix(prefix) {
            guard let process = Int32(name.dropFirst(prefix.count).prefix { $0 != "-" }), !Accounts.isAlive(process) else { continue }
            _ = try? ChildProcess.run(["ip", "netns", "del", name])
        }
    }()

    /// The words to put in front of a command so that it runs in here.
    package var prefix: [String] { ["ip", "netns", "exec", name] }

    /// Runs a command to its end in here, and returns what it printed.
    /// - Throws: if it fails.
    @discardableResult
    package func run(_ arguments: String..., input: String = "", inside: Bool = true) throws -> String {
        let result = try ChildProcess.run((inside ? prefix : []) + arguments, input: input)
        guard result.succeeded else { throw CommandFailed(description: "\(arguments.joined(separator: " ")): \(result.termination)\n\(result.output)\(result.error)") }
        return result.output
    }

    /// Runs a command to its end in here, whatever comes of it.
    package func attempt(_ arguments: [String], environment: [String: String?] = [:]) throws -> ChildProcess.Output {
        try ChildProcess.run(prefix + arguments, environment: environment)
    }

    package func ip(_ arguments: String...) throws {
        let result = try ChildProcess.run(["ip", "-n", name] + arguments)
        guard result.succeeded else { throw CommandFailed(description: "ip \(arguments.joined(separator: " ")): \(result.error)") }
    }

    /// Starts a program in here.
    package func start(_ arguments: [String], environment: [String: String?] = [:], echo: (@Sendable (String) -> Void)? = nil) throws -> BackgroundProgram {
        try BackgroundProgram(prefix + arguments, environment: environment, name: arguments[0], echo: echo)
    }

    /// Everything about this host that a network program could change: links, addresses, routes, firewall tables, forwarding settings.
    package func snapshot() throws -> String {
        let links = try run("ip", "-o", "link").split(separator: "\n").map { $0.split(separator: " ").dropFirst().joined(separator: " ") }.sorted()
        let settings = try run("sh", "-c", "for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv[46]/conf/*/*; do echo \"$f $(cat $f 2>/dev/null)\"; done")
        return [
            links.joined(separator: "\n"), try run("ip", "-o", "addr"), try run("ip", "route", "show", "table", "all"), try run("nft", "list", "ruleset"), settings,
        ].joined(separator: "\n--\n")
    }
}

package struct CommandFailed: Error, CustomStringConvertible {
    package let description: String

    package init(description: String) { self.description = description }
}

/// A host and, behind its uplink, another that plays the Internet.
package final class TestNetwork {
    /// The machine on which vde_vmnet runs.
    package let host: Namespace
    /// The Internet: 203.0.113.1 (RFC 5737), which knows nothing of private networks.
    package let internet: Namespace
    package let folder: TemporaryFolder

    package static let internetAddress = "203.0.113.1"
    package static let hostAddress = "203.0.113.2"

    package init() throws {
        host = try Namespace("host")
        internet = try Namespace("internet")
        folder = try TemporaryFolder()
        try host.ip("link", "add", "wan", "type", "veth", "peer", "name", "eth0", "netns", internet.name)
        try host.ip("addr", "add", TestNetwork.hostAddress + "/24", "dev", "wan")
        try host.ip("link", "set", "wan", "up")
        try host.ip("route", "add", "default", "via", TestNetwork.internetAddress)
        try internet.ip("addr", "add", TestNetwork.internetAddress + "/24", "dev", "eth0")
        try internet.ip("link", "set", "eth0", "up")
    }
}
