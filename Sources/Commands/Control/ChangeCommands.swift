// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import ControlSocket
import Lifecycle
import Platform

// The commands that change a running network: each sends one request. docs/control.md describes the requests.

/// `vde_vmnet publish`: ports of the host that lead to guests.
package struct Publish: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "publish", abstract: "Publish ports of this host while a network runs.",
        subcommands: [Add.self, Remove.self, All.self])

    package init() {}

    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "add",
            abstract: "Publish a port until the network ends or it is removed.",
            discussion: """
                A user other than root may publish at addresses and ports that the start of the network has granted: \
                at the addresses of its --publish, from net.ipv4.ip_unprivileged_port_start on. --control-allow \
                publish at the start lifts that.
                """)
        @Argument(help: "[BIND:]PORT[-END]:GUEST[:PORT][/udp], as for --publish, IPv6 addresses in brackets.")
        var port: String
        @OptionGroup var network: NetworkOptions

        func run() throws { try network.change("publish.add", ("port", .string(port))) }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove",
            abstract: "Stop publishing a port. Connections through it end.")
        @Argument(help: "The port as it was published.", completion: Completions.published)
        var port: String
        @OptionGroup var network: NetworkOptions

        func run() throws { try network.change("publish.remove", ("port", .string(port))) }
    }

    struct All: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "list", abstract: "List the published ports.")
        @Flag(help: "Print one JSON array instead of a table.")
        var json = false
        @OptionGroup var network: NetworkOptions

        func run() throws {
            let ports = try network.connect().call("publish.list")["published"]?.array ?? []
            try network.show(ports, asJSON: json) { ports in
                var table = TextTable("PUBLISHED", "LEADS TO")
                for one in ports { table.add(one["port"]?.string ?? "", one["guest"]?.string ?? "-") }
                return table
            }
        }
    }
}

/// `vde_vmnet egress` and `vde_vmnet allow`: where guests may go.
package struct Egress: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "egress", abstract: "Show or set what guests may connect to while a network runs.",
        discussion: """
            allow: any destination. deny: only those of vde_vmnet allow; established connections to others end. On a \
            network that root started, another owner may only make the policy stricter, and not end the log of \
            --egress-log, unless it was started with --control-allow egress.
            """)

    @Argument(help: "allow or deny; without it, the policy is shown.", completion: .list(["allow", "deny"]))
    var policy: String?
    @Option(help: "Log what the policy refuses, as --egress-log does: on or off.")
    var log: SwitchArgument?
    @Flag(help: "Print one JSON object instead of lines of text.")
    var json = false
    @OptionGroup var network: NetworkOptions

    package init() {}

    package func validate() throws {
        guard let policy, policy != "allow", policy != "deny" else { return }
        let shown = PrintableText.line(policy, limit: 64)
        throw ValidationError(
            policy == "log"
                ? "'log' is not a policy; write --log on to log what the policy refuses, or --log off"
                : "'\(shown)' is neither allow nor deny; write one of them, or nothing to see the policy")
    }

    package func run() throws {
        let connection = try network.connect()
        // The log first: it has what a new policy refuses from its beginning on.
        if let log { _ = try connection.call("egress.log", [("log", .bool(log == .on))]) }
        if let policy { _ = try connection.call("egress.set", [("policy", .string(policy))]) }
        try Allow.show(connection, asJSON: json)
    }
}

/// `vde_vmnet allow`: exceptions from `egress deny`.
package struct Allow: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "allow", abstract: "Allow destinations to guests while a network with --egress deny runs.",
        subcommands: [Add.self, Remove.self, All.self])

    package init() {}

    private static let fewRefusals = """
        but the policy refuses little, because guests may connect to every destination beyond the host; 'vde_vmnet \
        egress deny' refuses all that is not allowed
        """

    fileprivate static func show(_ connection: ControlConnection, asJSON: Bool) throws {
        let egress = try connection.call("egress.get")
        if asJSON { return try CommandOutput.write(egress.text + "\n") }
        try CommandOutput.write("policy: \(PrintableText.line(egress["policy"]?.string ?? ""))\n")
        for destination in egress["allowed"]?.array ?? [] {
            try CommandOutput.write("allowed: \(PrintableText.line(destination.string ?? ""))\n")
        }
        guard egress["refusals_logged"]?.bool == true else { return }
        let isRefusing = egress["policy"]?.string == "deny" || egress["denies_private"]?.bool == true
        try CommandOutput.write(isRefusing ? "refusals: logged\n" : "refusals: logged, \(Allow.fewRefusals)\n")
    }

    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "add", abstract: "Allow a destination.")
        @Argument(help: "CIDR[:PORT] or NAME[:PORT], as for --allow.")
        var destination: String
        @OptionGroup var network: NetworkOptions

        func run() throws { try network.change("allow.add", ("destination", .string(destination))) }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove",
            abstract: "Take back a destination. Connections to it end.")
        @Argument(help: "The destination as it was allowed.", completion: Completions.allowed)
        var destination: String
        @OptionGroup var network: NetworkOptions

        func run() throws { try network.change("allow.remove", ("destination", .string(destination))) }
    }

    struct All: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Show the policy and the allowed destinations.")
        @Flag(help: "Print one JSON object instead of lines of text.")
        var json = false
        @OptionGroup var network: NetworkOptions

        func run() throws { try Allow.show(network.connect(), asJSON: json) }
    }
}

/// `vde_vmnet lease`: addresses of guests.
package struct Lease: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "lease", abstract: "List, release and reserve guests' addresses while a network runs.",
        subcommands: [All.self, Release.self, Reserve.self, Unreserve.self])

    package init() {}

    struct All: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the leases and the reserved addresses.")
        @Flag(help: "Print one JSON array instead of a table.")
        var json = false
        @OptionGroup var network: NetworkOptions

        func run() throws {
            let connection = try network.connect()
            let leases = try connection.list("leases", "leases")
            let leased = Set(
                leases.filter { ($0["seconds_left"]?.integer ?? 0) > 0 }.compactMap { $0["address"]?.string })
            let reserved = try connection.list("reservations", "reservations").filter {
                $0["address"]?.string.map { !leased.contains($0) } ?? false
            }
            let waiting = Set(reserved.compactMap { $0["address"]?.string })
            let others = leases.filter { $0["address"]?.string.map { !waiting.contains($0) } ?? true }
            try network.show(others + reserved, asJSON: json) { LeaseText.table($0) }
        }
    }

    struct Release: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "release",
            abstract: "End a lease. Its guest uses the address until it renews the lease.")
        @Argument(help: "The leased address.", completion: Completions.leases)
        var address: String
        @OptionGroup var network: NetworkOptions

        func run() throws { try network.change("lease.release", ("address", .string(address))) }
    }

    struct Reserve: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "reserve",
            abstract: "Reserve an address for a guest until the network ends (--dhcp-host keeps one for good).")
        @Argument(help: "The guest's hardware address.", completion: Completions.hardware)
        var mac: String
        @Argument(help: "The IPv4 address. The guest keeps its name and IPv6 address of --dhcp-host.")
        var address: String
        @OptionGroup var network: NetworkOptions

        func run() throws {
            try network.change("lease.reserve", ("mac", .string(mac)), ("address", .string(address)))
        }
    }

    struct Unreserve: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "unreserve",
            abstract: "Remove the reservation of a guest, with its name and IPv6 address of --dhcp-host.")
        @Argument(help: "The guest's hardware address.", completion: Completions.hardware)
        var mac: String
        @OptionGroup var network: NetworkOptions

        func run() throws { try network.change("lease.unreserve", ("mac", .string(mac))) }
    }
}
