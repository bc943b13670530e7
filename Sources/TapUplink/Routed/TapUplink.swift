// SPDX-License-Identifier: Apache-2.0
import DHCPService
import EventLoop
import FrameIO
import HostChanges
import HostFirewall
import Lifecycle
import Logging
import NetworkModel
import Platform
import Switching
import Timing
import Uplink
import Wire

/// A guest network behind a TAP: the host is its gateway, with NAT and filtering by nftables (Linux).
package final class TapUplink: Uplink {
    private let options: UplinkOptions
    private let context: UplinkContext
    private var changes: HostChanges?
    private var network: TapNetwork?
    private var monitor: HostMonitor?
    private var tap = ""
    /// Gets packets that the policy refuses, while they are noted.
    private var packetLog: PacketLog?
    private var refusals = RefusalTable()
    private lazy var holders = AddressHolders(loop: context.loop, logger: context.logger)
    /// A user-mode NAT beside the TAP is the guests' router to the outside over IPv6.
    private let hasNAT6: Bool
    package private(set) var port: PortNumber?
    package private(set) var hostAddressing: HostAddressing?

    /// Whether guests' IPv6 packets leave this host by a NAT beside the TAP only: its kernel would forward between all
    /// interfaces, and is not to. The host may be a router because another instance has made it one (`--ipv6 kernel`):
    /// until that instance ends, or, if it was killed, until its changes are undone here.
    package static func needsNAT6(_ options: UplinkOptions, _ logger: Logger) -> Bool {
        guard mayNeedNAT6(options) else { return false }
        if KernelSetting.isRouter6, let directory = try? StateDirectories.runtime() {
            let others = HostChanges.changesOfOthers(in: directory, logger: logger)
            if others.contains(.setting(.forwardingEverywhere6, before: "0")) { return true }
        }
        return !KernelSetting.canForward6
    }

    /// The same, whether the host is a router or not.
    package static func mayNeedNAT6(_ options: UplinkOptions) -> Bool {
        options.mode == .shared && options.ipv6 != .off && options.ipv6 != .kernel && TapIPv6.isSupported
            && KernelSetting.forcedForwarding(on: "all").value == nil
    }

    /// Touches nothing yet.
    /// - Parameter hasNAT6: a user-mode NAT beside the TAP is the guests' router to the outside over IPv6, and
    ///   publishes ports of IPv6.
    package init(_ options: UplinkOptions, hasNAT6: Bool = false, _ context: UplinkContext) {
        self.hasNAT6 = hasNAT6
        self.options = options
        self.context = context
    }

    package var summary: String {
        hostAddressing.map { "\($0.network.network) on \(tap), gateway \($0.network.gateway)" } ?? ""
    }

    package var firewallTables: [String] { network?.firewall.tables ?? [] }

    package var isConnected: Bool {
        guard port != nil, let link = NetworkInterfaces.link(named: tap) else { return false }
        return link.isUp && link.bridge == nil
    }

    private func running() throws(ChangeRefusal) -> TapNetwork {
        guard let network else { throw ChangeRefusal(.failed, "the TAP is not open") }
        return network
    }

    package func change(published: [PublishedPort]) throws(ChangeRefusal) {
        guard options.mode == .shared else {
            throw ChangeRefusal(.unsupported, "a host network is closed to the outside, and publishes no ports")
        }
        let network = hostAddressing?.network6
        for one in published {
            if let reason = TapUplink.refusal(of: one, mayBecomeRouter: options.ipv6 == .kernel) {
                throw ChangeRefusal(.unsupported, "\(one): \(reason)")
            }
        }
        try running().change(published: published.map { $0.completed(by: network) })
    }

    /// Why a port cannot be published by a TAP of this host; nil if it can.
    private static func refusal(of published: PublishedPort, mayBecomeRouter: Bool) -> String? {
        guard published.isIPv6 else { return nil }
        if published.bind == .ipv6(.loopback) {
            return "the kernel lets no packet from ::1 out to guests; publish at [::] or another address of this host"
        }
        if mayBecomeRouter || KernelSetting.canForward6 { return nil }
        return "this host is no IPv6 router any more; restart vde_vmnet, which then publishes by a user-mode NAT"
    }

    package var hasEgressPolicy: Bool { true }

    package func change(egress: EgressPolicy) throws(ChangeRefusal) {
        guard options.mode == .shared else {
            throw ChangeRefusal(.unsupported, "a host network has no egress, and no policy for it")
        }
        try running().change(egress: egress)
    }

    package func pin(_ pins: [EgressPin], of name: DNSName, until expires: Instant) throws(ChangeRefusal) {
        try running().pin(pins, of: name, until: expires)
    }

    package func takeRefusals() -> (refusals: [EgressRefusal], further: [MACAddress?: Int]) {
        receiveRefusals()
        var taken = refusals.take()
        if let pins = network?.firewall.pins { taken.refusals = taken.refusals.map(pins.named) }
        return taken
    }

    package var refusedPackets: Int? { network?.firewall.refusedPackets }

    /// The kernel limits the rate of each guest.
    private func receiveRefusals() {
        for packet in packetLog?.receive() ?? [] where refusals.hasRoom(for: packet.hardware) {
            guard let refusal = EgressRefusal(hardware: packet.hardware, packet: packet.bytes.rawSpan) else { continue }
            refusals.insert(refusal)
        }
    }

    package func change(notesRefusals: Bool) throws(ChangeRefusal) {
        guard options.mode == .shared else {
            throw ChangeRefusal(.unsupported, "a host network has no egress, and no policy for it")
        }
        let network = try running()
        if let packetLog {
            guard !notesRefusals else { return }
            try network.change(logGroup: nil)
            context.loop.unwatch(packetLog.descriptor.raw)
            self.packetLog = nil
            refusals = RefusalTable()
        } else if notesRefusals {
            let log: PacketLog
            do throws(SystemError) {
                log = try PacketLog()
                try watch(log)
            } catch {
                throw ChangeRefusal(.failed, TapUplink.refusal(ofLog: error))
            }
            do throws(ChangeRefusal) {
                try network.change(logGroup: log.group)
            } catch {
                context.loop.unwatch(log.descriptor.raw)
                throw error
            }
            packetLog = log
        }
    }

    private func watch(_ log: PacketLog) throws(SystemError) {
        try context.loop.watch(log.descriptor.raw) { [unowned self] _ in receiveRefusals() }
    }

    private func openPacketLog() throws(ExitError) -> PacketLog {
        do throws(SystemError) {
            return try PacketLog()
        } catch {
            throw ExitError(.unavailable, TapUplink.refusal(ofLog: error))
        }
    }

    private static func refusal(ofLog error: SystemError) -> String {
        """
        \(error); on a TAP, refused packets are reported by NFLOG: load the kernel module nfnetlink_log, or do without \
        --egress-log
        """
    }

    package var pinCount: Int { network?.firewall.pins.count ?? 0 }

    package func change(isolating: Bool) throws(ChangeRefusal) { try running().change(isolating: isolating) }

    package var details: UplinkDetails {
        var details = UplinkDetails()
        details.kind = "tap"
        details.interface = tap
        details.hostChanges = changes?.log.changes.map(\.line) ?? []
        if options.mode == .shared, let routes = try? NetworkInterfaces.routes() {
            var names = EgressInterfaces.leading(routes, except: tap).map(\.name)
            if let six = network?.six {
                details.way6 = .kernel
                let routes6 = six.way == .userNAT ? [] : (try? NetworkInterfaces.routes6()) ?? []
                names += EgressInterfaces.leading6(routes6, except: tap).map(\.name).filter { !names.contains($0) }
            }
            details.egressInterfaces = names
        }
        return details
    }

    package func open() throws(ExitError) -> Bool {
        let (guests, changes) = try HostChanges.reserveNetwork(options.network, logger: context.logger)
        self.changes = changes
        do throws(ExitError) {
            try open(guests, changes)
        } catch {
            stop()
            undo()
            throw error
        }
        return true
    }

    private func open(_ guests: GuestNetwork, _ changes: HostChanges) throws(ExitError) {
        try options.checkGuests(of: guests)
        if options.egress.opensHostLoopback {
            throw ExitError(
                .usage,
                """
                --host-loopback goes with --uplink user; through a TAP guests reach what listens on \(guests.gateway)
                """)
        }
        let hardware = options.hardwareAddress(gateway: guests.gateway)
        let device = try TapDevice.make(named: options.tapName, mac: hardware, mtu: options.mtu)
        tap = device.name
        var rules = NATTable(tap: tap, index: device.index, network: guests.network)
        rules.isClosed = options.mode == .host
        rules.isIsolating = options.isIsolating
        rules.egress = options.egress
        rules.gateway = guests.gateway
        if options.logsRefusals { packetLog = try openPacketLog() }
        rules.logGroup = packetLog?.group
        let network6 = try GuestPrefix.choose(options, guests, isSupported: TapIPv6.isSupported, context.logger)
        try options.checkGuests(of: network6)
        for one in options.published {
            guard let reason = TapUplink.refusal(of: one, mayBecomeRouter: options.ipv6 == .kernel) else { continue }
            throw ExitError(.unavailable, "--publish \(one): \(reason)")
        }
        rules.published = options.published.map { $0.completed(by: network6) }
        let six = network6.map {
            TapIPv6(
                $0, hardware: hardware, tap: tap, way: hasNAT6 ? .userNAT : options.ipv6 == .kernel ? .router : .kernel,
                changes: changes, logger: context.logger)
        }
        rules.network6 = network6
        rules.gateways6 = six?.addresses ?? []
        let router = hasNAT6 ? Router6(hardware: options.routerHardwareAddress(gateway: guests.gateway)) : nil
        let ofRouter = network6.flatMap { router?.addresses(in: $0) } ?? []
        let network = TapNetwork(
            rules, guests: guests, device: device, six: six, changes: changes, logger: context.logger)
        network.onEgressChange = context.onChange
        self.network = network
        try network.start()
        // Longer frames than the network's MTU are accepted: the kernel splits or answers them, as routers do.
        let configuration = PortConfiguration(
            name: tap, kind: .tap, role: .uplink,
            descriptor: try orUnavailable { () throws(SystemError) in try device.descriptor.duplicate().release() },
            maximumFrame: FrameLimits.device, receivesUnknown: false)
        let number = try context.attachUplink(configuration)
        port = number
        context.control.addStatic(hardware, at: number)
        hostAddressing = HostAddressing(
            network: guests, hardware: hardware, interface: tap, gatewayHardware: hardware,
            gatewayIPv6: (six?.addresses ?? [IPv6Address(linkLocalFrom: hardware)]) + ofRouter, network6: network6,
            router6: network6 == nil ? nil : router)
    }

    package var hasEgressIPv6: Bool { network?.six?.hasEgress ?? false }

    package func begin() throws(ExitError) {
        guard let network, let guests = hostAddressing?.network else { return }
        if options.mode == .shared {
            HostRoutes.reportOffline(hasIPv6: hostAddressing?.network6 != nil, context.logger)
        }
        if let packetLog {
            try orUnavailable { () throws(SystemError) in try watch(packetLog) }
        }
        monitor = try HostMonitor(
            network, tap: tap, guests: guests, isShared: options.mode == .shared, loop: context.loop,
            logger: context.logger, onFailure: context.onFailure)
    }

    package func handle(_ event: PortEvent) { context.reportFailure(event, port: port, device: tap) }

    package func note(_ leases: [Lease]) { holders.note(leases, now: BootClock.now) }

    package func publish(_ published: [PublishedPort]) {
        let network6 = hostAddressing?.network6
        network?.publish(published.map { $0.completed(by: network6) })
    }

    package var hasHostResolver: Bool { SystemdResolved.isHere }

    package func resolve(_ domains: [String], at server: SocketAddress) {
        let tap = tap, logger = context.logger
        do throws(SystemError) {
            try changes?.log.add(.resolver(interface: tap))
            try context.loop.runInBackground(named: "resolvectl") {
                SystemdResolved.set(server, for: domains, of: tap)
            } then: { failure in
                guard let failure else {
                    return logger.info("systemd-resolved sends the host's queries for names of guests to \(server)")
                }
                logger.warning(
                    """
                    the host does not resolve names of guests: resolvectl: \(failure); see resolvectl status \(tap), \
                    or use --host-dns off
                    """)
            }
        } catch {
            logger.warning("the host does not resolve names of guests: \(error)")
        }
    }

    /// Takes the TAP down, before anything is undone that keeps its guests where they may be.
    package func stop() {
        network?.takeDown()
        if let packetLog { context.loop.unwatch(packetLog.descriptor.raw) }
    }

    package func undo() { changes?.undo() }
}
