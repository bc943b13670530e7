// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import VDESwitch
import Wire

/// The option of `join` that lets guests be routers and DHCP servers.
struct ServerOptions: ParsableArguments {
    /// A small number, because the list is searched for each DHCP request.
    private static let most = 16

    @Option(
        help: ArgumentHelp(
            """
            Let this guest act as a router and DHCP server for the others. Named by its port on the switch or by its \
            hardware address. May be repeated. (default: none)
            """,
            valueName: "port|mac"), transform: AllowedServer.parse)
    var allowServer: [AllowedServer] = []

    func note(in given: inout GivenOptions) { given.note(.allowServer, !allowServer.isEmpty) }

    /// Stores them in `configuration`.
    func apply(to configuration: inout Configuration) throws {
        guard allowServer.count <= ServerOptions.most else {
            throw ValidationError("--allow-server can be given \(ServerOptions.most) times at most")
        }
        configuration.allowedServers = allowServer
    }
}

extension AllowedServer: ExpressibleByArgument {
    package init?(argument: String) {
        if let number = Int(argument),
            argument.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        {
            guard number <= VirtualSwitch.maximumPorts else { return nil }
            self = .port(number)
        } else if let address = MACAddress(argument), !address.isGroup, address != .zero {
            self = .hardware(address)
        } else {
            return nil
        }
    }
}
