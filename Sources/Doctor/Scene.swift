// SPDX-License-Identifier: Apache-2.0
import HostChanges
import HostFirewall
import NetworkModel
import Platform
import Wire

/// What several checks need, read once.
struct Scene {
    let subject: Doctor.Subject
    let identity: ProgramIdentity
    let capabilities: Capabilities
    let user: UInt32
    let addresses: [UsedSubnet]
    let routes: [Route]
    let rules: [RoutingRule]

    init(_ subject: Doctor.Subject, _ identity: ProgramIdentity) {
        self.subject = subject
        self.identity = identity
        capabilities = Scene.capabilities(in: Files.text("/proc/self/status") ?? "")
        user = CurrentProcess.effectiveUser
        addresses = ((try? NetworkInterfaces.addresses()) ?? []).map {
            UsedSubnet(network: $0.network, interface: $0.interface)
        }
        routes = (try? NetworkInterfaces.routes()) ?? []
        rules = (try? NetworkInterfaces.rules()) ?? []
    }

    /// The effective capabilities in /proc/PID/status (proc(5)); none if it does not have them.
    static func capabilities(in status: String) -> Capabilities {
        let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        let value = line.flatMap { $0.split(whereSeparator: \.isWhitespace).last }.flatMap { UInt64($0, radix: 16) }
        return Capabilities(rawValue: value ?? 0)
    }

    var network: NetworkFacts? {
        if case .network(let facts) = subject { facts } else { nil }
    }

    /// Whether guests' packets pass, or would pass, a TAP of this host. Without a network, the privilege decides, as it
    /// does at a start.
    var usesTap: Bool { network.map { $0.uplink == "tap" } ?? capabilities.contains(.netAdmin) }

    /// Whether this host's kernel routes, or would route, guests' packets.
    var isRouted: Bool { network?.isRouted ?? usesTap }

    /// The guests' network, or the one that a start would choose.
    var guests: GuestNetwork {
        network?.network ?? SubnetAllocator.candidates.first {
            SubnetAllocator.conflict(of: $0.network, with: addresses) == nil
        } ?? SubnetAllocator.candidates[0]
    }

    /// The guests' IPv6 network, or one such as a start would choose; nil for none.
    var network6: IPv6Network? {
        if let network { return network.network6 }
        return IPv6Network(containing: IPv6Address(0xfd << 56, 0), prefixLength: 64)
    }

    /// Whether guests' IPv6 packets leave, or would leave, the host by a user-mode NAT.
    var hasNAT6: Bool { network?.hasNAT6 ?? (!usesTap || !KernelSetting.canForward6) }

    /// The name of the guests' TAP, or of the one that a start would make.
    var tap: String {
        if let interface = network?.interface { return interface }
        let names = Set(NetworkInterfaces.names())
        return (0..<4096).lazy.map { "vmnet\($0)" }.first { !names.contains($0) } ?? "vmnet0"
    }

    /// The default routes of the main table, the best one first.
    var defaultRoutes: [Route] {
        routes.filter { $0.destination.prefixLength == 0 && $0.table == Route.mainTable }.sorted {
            $0.metric < $1.metric
        }
    }

    /// Where packets of guests leave the host by all of its rules; nil if they do not. The kernel is queried for a
    /// packet that comes in by the TAP; before there is one, by the loopback interface.
    var path: (interface: String, mtu: Int)? {
        if isRouted, let index = NetworkInterfaces.index(of: tap) {
            return NetworkInterfaces.path(to: HostFirewallInspector.outside, from: guests.firstLease, input: index)
        }
        return NetworkInterfaces.path(to: HostFirewallInspector.outside)
    }

    /// The best default route's interface.
    var defaultInterface: String? { defaultRoutes.first.flatMap { NetworkInterfaces.name(of: $0.interface) } }
}
