// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import VDE
import Wire

/// The option of `join` about guests that are routers and DHCP servers.
struct ServerOptions: ParsableArguments {
    /// Looked at for each DHCP request.
    private static let most = 16

    @Option(help: ArgumentHelp("On a switch of our own: a guest that may be a router and a DHCP server for the others, by the number of its port or by its hardware address. May be given again. (default: none)", valueName: "port|mac"))
    var allowServer: [AllowedServer] = []

    /// Puts them into `configuration`, whose side, uplink, mode and isolation are there already.
    func apply(to configuration: inout Configuration) throws {
        guard !allowServer.isEmpty else { return }
        guard case .serve = configuration.side else {
            throw ValidationError("--allow-server goes with a switch of our own (--switch, --stream, --dgram, --fd): on a switch that was joined no guest is kept from serving the others")
        }
        if configuration.uplink == .none { throw ValidationError("--allow-server does not go with --uplink none, where any guest may serve") }
        if case .bridged = configuration.mode { throw ValidationError("--allow-server does not go with --vmnet-mode bridged, where any guest may serve") }
        if configuration.isIsolating { throw ValidationError("--allow-server does not go with --vmnet-isolation, which keeps guests from each other") }
        guard allowServer.count <= ServerOptions.most else { throw ValidationError("--allow-server can be given \(ServerOptions.most) times at most") }
        configuration.allowedServers = allowServer
    }
}

extension AllowedServer: ExpressibleByArgument {
    package init?(argument: String) {
        if let number = Int(argument), argument.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
            guard number <= VirtualSwitch.maximumPorts else { return nil }
            self = .port(number)
        } else if let address = MACAddress(argument), !address.isGroup, address != .zero {
            self = .hardware(address)
        } else {
            return nil
        }
    }
}
