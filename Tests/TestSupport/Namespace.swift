// SPDX-License-Identifier: Apache-2.0
import Platform

/// A network namespace: a separate host, deleted with the value.
package final class Namespace {
    private static let counter = Mutex(0)
    private static let prefix = "vde_vmnet-"

    package let name: String

    /// - Parameter role: part of the name, for a reader of `ip netns`.
    package init(_ role: String) throws {
        Namespace.sweepOnce
        LeftRecords.note()
        let number = Namespace.counter.withLock { count in
            count += 1
            return count
        }
        name = "\(Namespace.prefix)\(CurrentProcess.identifier)-\(number)-\(role)"
        try run("ip", "netns", "add", name, inside: false)
        try ip("link", "set", "lo", "up")
        // Links are to be as they will stay at once, not "tentative" for a second.
        for scope in ["all", "default"] { try run("sysctl", "-q", "-w", "net.ipv6.conf.\(scope).accept_dad=0") }
    }

    deinit {
        killOrphans()
        LeftRecords.remove(ofNamespace: name)
        _ = try? ChildProcess.run(["ip", "netns", "del", name])
        if hasFiles { _ = try? ChildProcess.run(["rm", "-rf", "/etc/netns/" + name]) }
    }

    /// Kills what the programs of the tests left running in here: a client that forks leaves processes (dhcpcd).
    /// A `BackgroundProgram` is a child of this process, and ends with its value.
    private func killOrphans() {
        let listed = (try? ChildProcess.run(["ip", "netns", "pids", name]).output) ?? ""
        let processes = Set(listed.split(separator: "\n").compactMap { Int32($0) })
        func belongsToTest(_ process: Int32) -> Bool {
            guard let parent = Namespace.parent(of: process) else { return true }
            return parent == CurrentProcess.identifier || processes.contains(parent) && belongsToTest(parent)
        }
        for process in processes.filter({ !belongsToTest($0) }) { ProcessTable.signal(process, Signal.kill) }
    }

    /// The process that started another one (proc_pid_status(5)), nil if that has ended.
    private static func parent(of process: Int32) -> Int32? {
        let lines = Files.text("/proc/\(process)/status")?.split(separator: "\n") ?? []
        return lines.lazy.compactMap { $0.hasPrefix("PPid:\t") ? Int32($0.dropFirst(6)) : nil }.first
    }

    private var hasFiles = false

    /// Gives programs in here their own resolv.conf.
    package func setResolvers(_ text: String) throws { try setFile("resolv.conf", text) }

    /// Gives programs in here that start later their own hosts file.
    package func setHosts(_ text: String) throws { try setFile("hosts", text) }

    /// Gives programs in here their own file of /etc (ip-netns(8)).
    private func setFile(_ file: String, _ text: String) throws {
        hasFiles = true
        try Files.makeDirectories("/etc/netns/" + name)
        // In place: a running program has the file itself mounted over the one of /etc.
        let path = "/etc/netns/\(name)/\(file)"
        if Files.exists(path) { try Files.overwrite(path, text) } else { try Files.replace(path, Array(text.utf8)) }
    }

    /// Removes what earlier runs left that were killed.
    private static let sweepOnce: Void = {
        for name in (try? Files.entries("/run/netns")) ?? [] where name.hasPrefix(prefix) {
            guard let process = Int32(name.dropFirst(prefix.count).prefix { $0 != "-" }), !ProcessTable.isAlive(process)
            else { continue }
            _ = try? ChildProcess.run(["ip", "netns", "del", name])
            _ = try? ChildProcess.run(["rm", "-rf", "/etc/netns/" + name])
        }
    }()

    /// The words to put before a command so that it runs in here.
    package var prefix: [String] { ["ip", "netns", "exec", name] }

    /// Runs a command to its end in here, and returns what it printed.
    /// - Throws: if it fails.
    @discardableResult
    package func run(_ arguments: String..., input: String = "", inside: Bool = true) throws -> String {
        let result = try ChildProcess.run((inside ? prefix : []) + arguments, input: input)
        guard result.succeeded else {
            throw CommandFailed(
                description:
                    "\(arguments.joined(separator: " ")): \(result.termination)\n\(result.output)\(result.error)")
        }
        return result.output
    }

    /// Runs a command to its end in here, whatever comes of it.
    package func attempt(_ arguments: [String], environment: [String: String?] = [:]) throws -> ChildProcess.Output {
        try ChildProcess.run(prefix + arguments, environment: environment)
    }

    package func ip(_ arguments: String...) throws {
        let result = try ChildProcess.run(["ip", "-n", name] + arguments)
        guard result.succeeded else {
            throw CommandFailed(description: "ip \(arguments.joined(separator: " ")): \(result.error)")
        }
    }

    /// Connects this host by a cable to another, which calls its end eth0. Both ends are up.
    /// - Parameters:
    ///   - address, otherAddress: as `ADDRESS/LENGTH`.
    package func connect(to other: Namespace, by interface: String, _ address: String, _ otherAddress: String) throws {
        try ip("link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", other.name)
        try ip("addr", "add", address, "dev", interface)
        try ip("link", "set", interface, "up")
        try other.ip("addr", "add", otherAddress, "dev", "eth0")
        try other.ip("link", "set", "eth0", "up")
        // The kernel handles a carrier up to a second later, and its state is a part of `snapshot`.
        for (namespace, end) in [(self, interface), (other, "eth0")] {
            try eventually("the carrier of \(end)") {
                try ChildProcess.run(["ip", "-n", namespace.name, "link", "show", end]).output.contains(" state UP ")
            }
        }
    }

    /// Starts a program in here.
    package func start(
        _ arguments: [String], environment: [String: String?] = [:], echo: (@Sendable (String) -> Void)? = nil
    ) throws -> BackgroundProgram {
        try BackgroundProgram(prefix + arguments, environment: environment, name: arguments[0], echo: echo)
    }

    /// The words to put before a command in here that keeps leases where the system's are, so that it finds none
    /// and they go with it: `ip netns exec` gives each program its own mounts.
    package static let withoutState = ["sh", "-c", "mount -t tmpfs none /var/lib && exec \"$@\"", "sh"]

    /// The words to put before a command so that it runs as `user`, without any privilege.
    package static func running(as user: String?) -> [String] {
        user.map { ["setpriv", "--reuid", $0, "--regid", "nogroup", "--clear-groups", "--"] } ?? []
    }

    /// The page that a web server gives to this host, fetched with nothing but bash.
    package func fetch(_ address: String, port: Int = 80, page: String = "/") throws -> String {
        let script = "exec 3<>/dev/tcp/\(address)/\(port); printf 'GET \(page) HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
        let answer = try run("timeout", "20", "bash", "-c", script)
        guard let body = answer.firstRange(of: "\r\n\r\n") else {
            throw CommandFailed(description: "no page: \(answer)")
        }
        return String(answer[body.upperBound...]).trimmed
    }

    /// Waits until a TCP server listens in here.
    package func waitForListener(on port: Int) throws {
        try eventually("a server on port \(port)") { try run("ss", "-Hltn", "sport = :\(port)").contains(":\(port)") }
    }

    /// Everything about this host that a network program could change: links, addresses, routes, firewall tables,
    /// forwarding settings.
    package func snapshot() throws -> String {
        // Duplicate address detection (RFC 4862 section 5.4) ends a second after a link is up, and changes flags and
        // routes. Without a carrier it does not end.
        try? eventually("the end of duplicate address detection", within: 2) {
            try run("ip", "-o", "addr", "show", "tentative").isEmpty
        }
        let links = try run("ip", "-o", "link").split(separator: "\n").map {
            $0.split(separator: " ").dropFirst().joined(separator: " ")
        }.sorted()
        let settings = try run(
            "sh", "-c",
            "for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv[46]/conf/*/*; do echo \"$f $(cat $f "
                + "2>/dev/null)\"; done"
        )
        return [
            links.joined(separator: "\n"), try run("ip", "-o", "addr"), try run("ip", "route", "show", "table", "all"),
            try run("nft", "list", "ruleset"), settings,
        ].joined(separator: "\n--\n")
    }
}

package struct CommandFailed: Error, CustomStringConvertible {
    package let description: String

    package init(description: String) { self.description = description }
}
