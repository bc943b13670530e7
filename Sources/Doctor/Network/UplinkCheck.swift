// SPDX-License-Identifier: Apache-2.0
import Platform

/// Whether the running network's uplink works.
struct UplinkCheck: HostCheck {
    static let name = "uplink"

    /// Why the uplink carries no packets, although the network has it open.
    enum Fault: Equatable, Sendable {
        /// With the bridge's name. The network keeps a TAP down whose guests its rules do not reach.
        case inBridge(String)
        /// The TAP.
        case down
        /// In bridged mode: the interface with this name.
        case bridgedDown(String)
        /// In bridged mode: the TAP with this name is not a port of the bridge any more.
        case notInBridge(String)
    }

    let kind: String
    let isConnected: Bool
    let interface: String
    let fault: Fault?
    let socket: String
    let start: [String]

    /// - Parameters:
    ///   - fault: of the uplink's interface.
    ///   - start: the words of the network's start.
    init(_ network: NetworkFacts, fault: Fault? = nil, start: [String] = []) {
        kind = network.uplink
        isConnected = network.isUplinkConnected
        interface = network.interface ?? kind
        self.fault = fault
        socket = network.socket
        self.start = start
    }

    static func gathered(_ network: NetworkFacts) -> UplinkCheck {
        var fault: Fault?
        if network.uplink == "tap", network.mode != "bridged",
            let link = network.interface.flatMap({ NetworkInterfaces.link(named: $0) })
        {
            if let bridge = link.bridge {
                fault = .inBridge(NetworkInterfaces.name(of: bridge) ?? "a bridge")
            } else if !link.isUp {
                fault = .down
            }
        }
        if network.mode == "bridged", !network.isUplinkConnected { fault = bridgedFault(network) }
        return UplinkCheck(network, fault: fault, start: NetworkFacts.commandLine(of: network.process))
    }

    private static func bridgedFault(_ network: NetworkFacts) -> Fault? {
        let names = [network.interface, network.uplinkPort].compactMap(\.self)
        if let down = names.first(where: { NetworkInterfaces.link(named: $0)?.isUp == false }) {
            return .bridgedDown(down)
        }
        guard network.uplink == "bridged", names.count == 2, NetworkInterfaces.index(of: names[0]) != nil,
            let link = NetworkInterfaces.link(named: names[1]), link.bridge != NetworkInterfaces.index(of: names[0])
        else { return nil }
        return .notInBridge(names[1])
    }

    var diagnoses: [Diagnosis] {
        if kind == "none" { return Self.ok("this network has none") }
        switch fault {
        case nil where isConnected: return Self.ok("\(kind), connected")
        case nil:
            return [
                Self.failed(
                    .uplinkLost, "the uplink (\(kind)) is lost, and guests reach each other only",
                    ShellText.command("vde_vmnet", "events", socket, "--only", "uplink"))
            ]
        case .inBridge(let bridge):
            return [
                Self.failed(
                    .uplinkLost,
                    """
                    \(interface) is a port of \(bridge), where the network's rules have no effect, and the network \
                    keeps it down
                    """, Remedy.sudo("ip", "link", "set", "dev", interface, "nomaster"))
            ]
        case .bridgedDown(let name):
            return [
                Self.failed(
                    .uplinkLost, "\(name) is down, and guests reach each other only",
                    Remedy.sudo("ip", "link", "set", "dev", name, "up"))
            ]
        case .notInBridge(let tap):
            return [
                Self.failed(
                    .uplinkLost, "\(tap) is not a port of \(interface) any more, and guests reach each other only",
                    Remedy.sudo("ip", "link", "set", "dev", tap, "master", interface))
            ]
        case .down:
            return [
                Self.failed(
                    .uplinkLost,
                    "\(interface) is down: another program has taken it down or removed the network's rules repeatedly",
                    Remedy.restart(socket, start, with: []))
            ]
        }
    }
}
