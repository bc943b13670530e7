// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import ControlSocket
import Lifecycle
import Platform

/// `on` or `off`.
enum SwitchArgument: String, CaseIterable, ExpressibleByArgument {
    case on, off
}

/// `vde_vmnet port`: the ports of the switch.
package struct Port: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "port", abstract: "List and change the ports of a network's switch while it runs.",
        subcommands: [All.self, Disconnect.self, Isolate.self, VLAN.self, Limit.self])

    package init() {}

    struct All: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "list", abstract: "List the ports in use.")
        @Flag(help: "Print one JSON array instead of a table.")
        var json = false
        @OptionGroup var network: NetworkOptions

        func run() throws {
            let ports = try network.connect().list("ports", "ports")
            try network.show(ports, asJSON: json) { ports in
                var table = TextTable("PORT", "CLIENT", "USER", "PROCESS", "VLAN", "ISOLATED", "LIMIT", "IN", "OUT")
                for port in ports where port["role"]?.string != "service" {
                    let number = port["port"]?.integer.map { String($0) } ?? "-"
                    table.add(
                        port["role"]?.string == "uplink" ? port["uplink"]?.string ?? "uplink" : number,
                        String((port["description"]?.string ?? "").prefix(60)), port["user"]?.string ?? "-",
                        port["process"]?.integer.map { String($0) } ?? "-",
                        port["vlan"]?.integer.map { String($0) } ?? "-",
                        port["isolated"]?.bool.map { $0 ? "yes" : "no" } ?? "-", port["limit"]?.string ?? "-",
                        TerminalText.bytes(port["bytes_in"]?.integer ?? 0),
                        TerminalText.bytes(port["bytes_out"]?.integer ?? 0))
                }
                return table
            }
        }
    }

    struct Disconnect: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "disconnect", abstract: "Disconnect the clients of a port.")
        @Argument(help: "The port's number.", completion: Completions.ports, transform: Int.parse)
        var port: Int
        @OptionGroup var network: NetworkOptions

        func run() throws { try network.change("port.disconnect", ("port", .integer(port))) }
    }

    struct Isolate: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "isolate",
            abstract: "Keep the guests of a port, or all guests, from each other; they reach the uplink.",
            discussion: """
                While a port is isolated, this host routes no packets from one guest to another either. On a network \
                that root started, 'off' is root's, unless it was started with --control-allow egress.
                """)
        @Argument(help: "The port's number, or all.", completion: Completions.ports)
        var port: String
        @Argument(help: "on or off.")
        var isolated: SwitchArgument
        @OptionGroup var network: NetworkOptions

        func validate() throws {
            guard port == "all" || Int(port) != nil else {
                throw ValidationError("port isolate: '\(port)' is not a port's number, or all")
            }
        }

        func run() throws {
            let isOn = JSON.bool(isolated == .on)
            if let number = Int(port) {
                try network.change("port.isolate", ("port", .integer(number)), ("isolated", isOn))
            } else {
                try network.change("isolation.set", ("isolation", isOn))
            }
        }
    }

    struct VLAN: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "vlan", abstract: "Set the VLAN of a port's untagged frames. 0 is the VLAN of the uplink.")
        @Argument(help: "The port's number.", completion: Completions.ports, transform: Int.parse)
        var port: Int
        @Argument(help: "The VLAN, 0 to 4093.", transform: Int.parse)
        var vlan: Int
        @OptionGroup var network: NetworkOptions

        func validate() throws {
            guard (0...4093).contains(vlan) else {
                throw ValidationError("port vlan: \(vlan) is no VLAN; write a number from 0 to 4093")
            }
        }

        func run() throws {
            try network.change("port.vlan", ("port", .integer(port)), ("vlan", .integer(vlan)))
        }
    }

    struct Limit: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "limit",
            abstract: "Limit the rate of a port, each way. Frames beyond it are dropped.")
        @Argument(help: "The port's number.", completion: Completions.ports, transform: Int.parse)
        var port: Int
        @Argument(help: "The rate, such as 50mbit or 1gbit, 1mbit at least; or off.")
        var rate: String
        @OptionGroup var network: NetworkOptions

        func run() throws {
            try network.change("port.limit", ("port", .integer(port)), ("rate", rate == "off" ? .null : .string(rate)))
        }
    }
}
