// SPDX-License-Identifier: Apache-2.0
import HostChanges
import Logging
import NetworkModel
import Platform
import Timing
import Uplink
import Wire

/// The host's IPv6 side of a guest network on a TAP: its addresses, forwarding, and whether the outside is reachable.
///
/// Linux forwards IPv6 between all interfaces or none (`conf.all.forwarding`). From version 6.17 on it can forward what
/// arrives by some interfaces only (`force_forwarding`), which this program uses if the host is no router. On earlier
/// kernels a user-mode NAT beside the TAP carries guests' packets, or this program makes the host a router if the user
/// allows that (`HostAsRouter6`).
final class TapIPv6 {
    /// How guests' packets leave the host.
    enum Way {
        /// The kernel forwards them.
        case kernel
        /// The kernel forwards them, and the host may become an IPv6 router for that.
        case router
        /// A user-mode NAT beside the TAP carries them.
        case userNAT
    }

    /// The guests' network.
    let network: IPv6Network
    /// The host's addresses on it: of the link, and the network's first one.
    let addresses: [IPv6Address]
    private let tap: String
    private let forwarding: EgressForwarding
    private let router: HostAsRouter6?
    /// How guests' packets leave the host.
    let way: Way
    private let logger: Logger
    private var hasReported = false
    /// Packets of guests can leave the host.
    private(set) var hasEgress = false

    /// - Parameters:
    ///   - hardware: the TAP's.
    ///   - way: how guests' packets leave the host.
    init(
        _ network: IPv6Network, hardware: MACAddress, tap: String, way: Way, changes: HostChanges, logger: Logger
    ) {
        self.way = way
        self.network = network
        self.tap = tap
        self.logger = logger
        addresses = [IPv6Address(linkLocalFrom: hardware), network.gateway]
        forwarding = EgressForwarding(.ipv6, changes: changes, logger: logger)
        router = way == .router ? HostAsRouter6(changes: changes, logger: logger) : nil
    }

    /// Whether the kernel has IPv6.
    static var isSupported: Bool { Files.exists("/proc/sys/net/ipv6/conf/all/disable_ipv6") }

    private static var canForceForwarding: Bool { KernelSetting.forcedForwarding(on: "all").value != nil }

    private var tapForwarding: KernelSetting { KernelSetting.forcedForwarding(on: tap) }

    /// Interfaces between which rules drop forwarded packets.
    var restrictedInterfaces: [String] { forwarding.restrictedInterfaces }
    /// Rules drop what is forwarded from and to other interfaces than TAPs.
    var restrictsEverything: Bool { router?.isPlanned ?? false }

    /// Adds the addresses that are missing.
    func addAddresses(to index: UInt32) throws(SystemError) {
        try? KernelSetting(path: "net/ipv6/conf/\(tap)/disable_ipv6").set("0")
        for address in addresses { try NetworkInterfaces.add(address, prefixLength: 64, to: index) }
    }

    /// The first of the host's addresses that is not on the TAP; nil if all are there.
    var missingAddress: IPv6Address? {
        guard let present = try? NetworkInterfaces.addresses6() else { return nil }
        return addresses.first { address in !present.contains { $0.interface == tap && $0.address == address } }
    }

    /// Records the egress interfaces on which forwarding is off. The rules for `restrictedInterfaces` must be applied
    /// before `enable`.
    /// - Parameter lockTimeout: how long to wait for the directory lock.
    /// - Returns: nil if another process keeps the lock longer.
    func plan(lockTimeout: TimeAmount) -> [EgressForwarding.Step]? {
        guard let routes = try? NetworkInterfaces.routes6() else { return [] }
        let egress = EgressInterfaces.leading6(routes, except: tap)
        let leadsOutside = !egress.isEmpty && HostRoutes.hasAddress6
        if way == .userNAT {
            hasEgress = leadsOutside
            return []
        }
        if !TapIPv6.canForceForwarding, let router {
            guard router.plan(lockTimeout: lockTimeout) else { return nil }
            hasEgress = leadsOutside
            return []
        }
        guard KernelSetting.canForward6 else {
            hasEgress = false
            if leadsOutside, !hasReported {
                hasReported = true
                logger.notice(
                    """
                    guests do not reach the outside over IPv6: this host is no IPv6 router any more, and its kernel \
                    forwards between all interfaces or none; restart vde_vmnet, which then uses a user-mode NAT
                    """)
            }
            return []
        }
        hasEgress = leadsOutside
        return forwarding.plan(egress, lockTimeout: lockTimeout)
    }

    /// Switches forwarding on.
    func enable(_ steps: [EgressForwarding.Step]) {
        forwarding.enable(steps)
        router?.enable()
        guard way != .userNAT, tapForwarding.value == "0", !KernelSetting.isRouter6 else { return }
        do throws(SystemError) {
            try tapForwarding.set("1")
        } catch {
            hasEgress = false
            logger.warning("\(error); guests do not reach the outside over IPv6")
        }
    }

    /// The settings to restore if other programs change them.
    var settings: [KernelSetting] {
        if way == .userNAT { return [] }
        if restrictsEverything { return [.forwardingEverywhere6] }
        return KernelSetting.isRouter6 || tapForwarding.value == nil ? [] : forwarding.settings + [tapForwarding]
    }

    /// Writes the settings of the egress interfaces.
    func set(_ value: String) {
        forwarding.set(value)
        router?.set(value)
    }
}
