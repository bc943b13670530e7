// SPDX-License-Identifier: Apache-2.0
import HostChanges
import NetworkModel
import Platform
import Wire

/// Whether the guests' subnet is used for something else.
struct SubnetCheck: HostCheck {
    static let name = "subnet"

    /// The running network's subnet; nil without one.
    let running: IPv4Network?
    /// The running network's IPv6 prefix; nil without one.
    var running6: IPv6Network?
    /// Whether a network runs.
    let isRunning: Bool
    /// The network that the user-mode NAT serves has no address on the host, and no route clashes visibly.
    let used: [UsedSubnet]
    /// Routes that the host prefers to that of the IPv6 prefix, with their interfaces.
    var diversions6: [(network: IPv6Network, interface: String)] = []
    /// The first free candidate of a start.
    let free: GuestNetwork?
    /// The words of the network's start; empty if they are not readable.
    let start: [String]
    let networkName: String

    static func gathered(_ scene: Scene) -> SubnetCheck {
        let own = scene.network?.interface
        let used = ((try? UsedSubnet.ofHost()) ?? []).filter { $0.interface != own || own == nil }
        return SubnetCheck(
            running: scene.network?.network?.network, running6: scene.network?.network6,
            isRunning: scene.network != nil, used: used,
            diversions6: diversions6(scene.network),
            free: SubnetAllocator.candidates.first { SubnetAllocator.conflict(of: $0.network, with: used) == nil },
            start: scene.network.map { NetworkFacts.commandLine(of: $0.process) } ?? [],
            networkName: scene.network?.socket ?? "")
    }

    var diagnoses: [Diagnosis] {
        if isRunning && running == nil { return Self.ok("this network has no subnet on this host") }
        guard let free else {
            return [
                Self.failed(
                    .noFreeSubnet, "this host uses every subnet that a start could choose",
                    "vde_vmnet --vmnet-gateway 100.64.105.1")
            ]
        }
        guard let running else { return Self.ok("a start would use \(free.network)") }
        var found: [Diagnosis] = []
        if let clash = SubnetAllocator.conflict(of: running, with: used) {
            found.append(
                Self.failed(
                    .subnetClash, "\(running) overlaps \(clash.network), which this host uses on \(clash.interface)",
                    Remedy.restart(networkName, start, with: ["--vmnet-gateway", "\(free.gateway)"])))
        }
        if let running6, let clash = diversions6.first {
            found.append(
                Self.failed(
                    .subnetClash,
                    "this host routes \(clash.network) to \(clash.interface), away from guests of \(running6)",
                    "sudo ip -6 route del \(clash.network) dev \(clash.interface)"))
        }
        let networks = running6.map { "\(running) and \($0) are" } ?? "\(running) is"
        return found.isEmpty ? Self.ok("\(networks) used by this network only") : found
    }

    /// Of a network on a TAP. In user mode the host has no route to guests.
    private static func diversions6(_ facts: NetworkFacts?) -> [(network: IPv6Network, interface: String)] {
        guard let network = facts?.network6, let interface = facts?.interface.flatMap(NetworkInterfaces.index),
            let routes = try? NetworkInterfaces.routes6()
        else { return [] }
        return Route6.diversions(of: network, on: interface, in: routes).compactMap { route in
            NetworkInterfaces.name(of: route.interface).map { (network: route.destination, interface: $0) }
        }
    }
}

extension NetworkFacts {
    /// The words with which a process was started; empty if they cannot be read.
    static func commandLine(of process: Int32) -> [String] {
        guard process > 0, let bytes = try? Files.read("/proc/\(process)/cmdline") else { return [] }
        return bytes.split(separator: 0, omittingEmptySubsequences: false).dropLast().map {
            String(decoding: $0, as: UTF8.self)
        }
    }
}

extension Remedy {
    /// Stops a network and starts it again with an option and its values, in place of those that it has.
    static func restart(_ network: String, _ words: [String], with options: [String]) -> String {
        let words = words.isEmpty ? ["vde_vmnet"] : words
        // Options come before the operand of `run`'s program.
        let operand = words.drop { $0 != "--" }
        var own = words.dropLast(operand.count)
        if let name = options.first {
            own.removeAll { $0.hasPrefix(name + "=") }
            if let given = own.firstIndex(of: name) {
                own.removeSubrange(given..<min(own.endIndex, given + options.count))
            }
        }
        return ShellText.command("vde_vmnet", "stop", network) + " && " + ShellText.command(own + options + operand)
    }
}
