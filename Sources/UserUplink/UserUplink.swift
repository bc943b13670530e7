// SPDX-License-Identifier: Apache-2.0
import DHCPService
import EventLoop
import FrameIO
import HostChanges
import Lifecycle
import Logging
import NetworkModel
import Platform
import Switching
import Timing
import Uplink
import Wire

/// The uplink by a user-mode NAT, which needs no privilege: keeps the NAT attached to the switch, and reports leases to
/// it.
package final class UserUplink: Uplink {
    /// NATs that a worker may still be using. They stay allocated until the process ends.
    private static let abandoned = Mutex<[UserNAT]>([])

    private let options: UplinkOptions
    private let context: UplinkContext
    /// It is beside a TAP, which leads to the host and to IPv4.
    private let isBesideTAP: Bool
    /// nil if the host has no place for their record.
    private let changes: HostChanges?
    private let network: UserNAT
    /// Injects the NAT's frames into the switch.
    private let injector: InjectionPort
    private let addressing: HostAddressing
    /// The published ports.
    private var current: [PublishedPort]
    /// The last state of each lease, for ports that are published later.
    private var leases: [(IPv4Address, MACAddress, GuestName?, end: Instant)] = []
    /// The forwarder has started, so its workers may be using the device.
    private var isForwarding = false
    private var proxyTimer: ControlLoop.TimerID?
    private var noticeTimer: ControlLoop.TimerID?
    private var hasWarnedAboutPings = false
    package private(set) var port: PortNumber?
    /// What the switch calls the port of a NAT beside a TAP.
    package static let nameBesideTAP = "user6"
    package private(set) var hasEgressIPv6: Bool
    private var outboundMonitor: OutboundMonitor?
    /// Reports changes of the host's routes.
    private var monitor: ChangeMonitor?

    /// Reserves a network. No frame is forwarded yet.
    /// - Parameters:
    ///   - flowLimit: descriptors for guests' connections and UDP flows.
    ///   - makeNames: makes a name service for the network, if guests may use one, and returns its queue of TCP
    ///     connections.
    package init(
        _ options: UplinkOptions, flowLimit: Int, descriptorLimit: Int, _ context: UplinkContext,
        makeNames: (HostAddressing) throws(ExitError) -> DNSConnectionQueue?
    ) throws(ExitError) {
        self.options = options
        self.context = context
        isBesideTAP = false
        injector = InjectionPort(context.control)
        try options.outbound?.check()
        hasEgressIPv6 = HostRoutes.hasEgressIPv6(by: options.outbound)
        let (guests, changes) = try HostChanges.reserveNetworkIfPossible(options.network, logger: context.logger)
        self.changes = changes
        let hardware = options.hardwareAddress(gateway: guests.gateway)
        var natOptions = NATGateway.Options(guests, hardware, options, flowLimit: flowLimit)
        do throws(ExitError) {
            try options.checkGuests(of: guests)
            let network6 = try GuestPrefix.choose(options, guests, context.logger)
            try options.checkGuests(of: network6)
            natOptions.prefix = network6?.base.high
            addressing = HostAddressing(
                network: guests, hardware: hardware, gatewayHardware: hardware,
                gatewayIPv6: network6.map { [.customaryGateway, $0.gateway] } ?? [], network6: network6)
            var names: DNSConnectionQueue?
            if !natOptions.policy.isClosed {
                names = try makeNames(addressing)
                natOptions.answersDNS = names != nil
            }
            current = options.published.map { $0.completed(by: network6) }
            network = try UserUplink.start(natOptions, current, names, injector)
        } catch {
            changes?.undo()
            throw error
        }
        context.logger.info(
            """
            user-mode NAT for up to \(natOptions.flowLimit) connections, UDP ports and pings at a time (this process \
            may open \(descriptorLimit) files)
            """)
    }

    /// Makes the router to the outside over IPv6 beside the TAP of a host whose kernel does not forward IPv6 for
    /// guests.
    /// - Parameters:
    ///   - options: of the TAP's network; the published ports of IPv6 only.
    ///   - host: the TAP's place on the guests' network, with an IPv6 network.
    package init(
        _ options: UplinkOptions, beside host: HostAddressing, flowLimit: Int, _ context: UplinkContext
    ) throws(ExitError) {
        self.options = options
        self.context = context
        isBesideTAP = true
        hasEgressIPv6 = HostRoutes.hasEgressIPv6
        changes = nil
        injector = InjectionPort(context.control)
        let router = host.router6
        var natOptions = NATGateway.Options(
            host.network, router?.hardware ?? host.hardware, options, flowLimit: flowLimit)
        natOptions.isBesideGateway = true
        natOptions.prefix = host.network6?.base.high
        if let router { (natOptions.linkLocal, natOptions.interfaceID) = (router.linkLocal, router.linkLocal.low) }
        addressing = host
        current = options.published.map { $0.completed(by: host.network6) }
        network = try UserUplink.start(natOptions, current, nil, injector)
        network.setClosedNetworks(HostRoutes.ownNetworks6)
    }

    private static func start(
        _ options: NATGateway.Options, _ published: [PublishedPort], _ names: DNSConnectionQueue?,
        _ injector: InjectionPort
    ) throws(ExitError) -> UserNAT {
        do throws(UserNATError) {
            return try UserNAT(options, publishing: published, dnsQueue: names, to: injector)
        } catch {
            switch error {
            case .port(let published, let port, let code):
                throw ExitError.publishing(published, port: port, errno: code)
            case .system(let error):
                throw ExitError(.unavailable, error.explanation)
            }
        }
    }

    /// What guests lack compared with a TAP, for a notice to a user without privilege.
    package static let limitations = """
        without privilege the uplink is a user-mode NAT: this host does not reach guests at their own addresses \
        (--publish leads to their ports), and guests can ping the outside only if net.ipv4.ping_group_range allows it; \
        for both, start it with sudo
        """

    package var hostAddressing: HostAddressing? { addressing }
    package var terminatesTCP: Bool { true }

    package var summary: String {
        "\(addressing.network.network) by user-mode NAT, gateway \(addressing.network.gateway)"
    }

    package func open() throws(ExitError) -> Bool {
        let descriptor = try orUnavailable { () throws(SystemError) in try network.readyDescriptor().release() }
        var configuration = PortConfiguration(
            name: isBesideTAP ? UserUplink.nameBesideTAP : "user", kind: .device, role: .uplink, descriptor: descriptor,
            maximumFrame: FrameLimits.link(mtu: options.mtu), receivesUnknown: false)
        configuration.device = FrameDevice(network)
        configuration.injector = injector
        guard let number = context.attach(configuration) else {
            _ = Descriptor(adopting: descriptor)
            throw ExitError(.unavailable, "no port is left for the uplink")
        }
        port = number
        context.control.addStatic(isBesideTAP ? network.hardware : addressing.hardware, at: number)
        return true
    }

    package func begin() {
        isForwarding = true
        watchNotices()
        if isBesideTAP {
            monitor = try? ChangeMonitor(NetworkInterfaces.monitor(), settling: .zero, loop: context.loop) {
                [unowned self] in network.setClosedNetworks(HostRoutes.ownNetworks6)
            }
            return
        }
        guard options.mode == .shared else { return }
        HostRoutes.reportOffline(hasIPv6: addressing.network6 != nil, context.logger)
        if let proxy = options.proxy {
            context.logger.info("guests' TCP connections go through the proxy \(proxy.text); nothing else leaves")
            reportProxy(proxy)
        }
        if let outbound = options.outbound {
            context.logger.info("guests' TCP, UDP and pings leave by \(outbound.text)")
            outboundMonitor = OutboundMonitor(outbound, network, context)
        }
        // On a system that does not report changes, guests have a router in any case.
        monitor = try? ChangeMonitor(NetworkInterfaces.monitor(), settling: .milliseconds(200), loop: context.loop) {
            [unowned self] in
            let before = hasEgressIPv6
            hasEgressIPv6 = HostRoutes.hasEgressIPv6(by: options.outbound)
            if hasEgressIPv6 != before { context.onChange() }
            outboundMonitor?.refresh()
        }
        if monitor == nil { outboundMonitor?.poll() }
    }

    /// Between two looks at the failures of the proxy.
    private static let proxyInterval = TimeAmount.seconds(1)

    /// Between two reports of the NAT.
    private static let noticeInterval = TimeAmount.seconds(1)

    /// Handles what the NAT reports, once a second at most.
    private func watchNotices() {
        let descriptor = network.notices.notification.descriptor.raw
        try? context.loop.watch(descriptor) { [unowned self] _ in
            context.loop.unwatch(descriptor)
            if let content = network.notices.take() {
                if let (last, count) = content.unreached {
                    context.logger.warning("\(last)\(count > 1 ? " (\(count) clients)" : "")")
                }
                if content.hasFreedMemory { ProcessMemory.trim() }
                if content.arePingsForbidden { warnAboutPings() }
            }
            noticeTimer = context.loop.schedule(after: UserUplink.noticeInterval) { [unowned self] in watchNotices() }
        }
    }

    /// Once, because nothing changes by itself.
    private func warnAboutPings() {
        guard !hasWarnedAboutPings else { return }
        hasWarnedAboutPings = true
        context.logger.warning(
            """
            guests cannot ping the outside, because net.ipv4.ping_group_range does not include the group \
            \(CurrentProcess.effectiveGroup); permit it: sudo sysctl -w 'net.ipv4.ping_group_range=0 2147483647'
            """)
    }

    /// The message about one kind of failures in an interval.
    static func text(_ failure: ProxyFailure, _ count: Int, of proxy: ProxyServer) -> String {
        let connections = count == 1 ? "a connection" : "\(count) connections"
        return "the proxy \(proxy.text) has not made \(connections) of guests: \(failure.text(proxy.kind))"
    }

    private func reportProxy(_ proxy: ProxyServer) {
        proxyTimer = context.loop.schedule(after: UserUplink.proxyInterval) { [unowned self] in
            for (failure, count) in network.takeProxyFailures() {
                context.logger.warning("\(UserUplink.text(failure, count, of: proxy))")
            }
            reportProxy(proxy)
        }
    }

    package func handle(_ event: PortEvent) {}

    package var hasHostResolver: Bool { ResolverFiles.isHere }

    package func resolve(_ domains: [String], at server: SocketAddress) {
        for domain in domains {
            do throws(SystemError) {
                if ResolverFiles.system.isForeign(domain) {
                    context.logger.warning(
                        "/etc/resolver/\(domain) is another program's; the host does not resolve these names by it")
                    continue
                }
                guard let changes else {
                    context.logger.warning("the host does not resolve names of guests, for lack of a record of changes")
                    return
                }
                try changes.log.add(.resolverFile(domain: domain))
                try ResolverFiles.system.write(domain, server)
            } catch {
                context.logger.warning("the host does not resolve names of guests: \(error)")
            }
        }
    }

    package func note(_ leases: [Lease]) {
        let noted = leases.map { ($0.address, $0.hardware, $0.name, end: $0.expires) }
        self.leases.removeAll { old in noted.contains { $0.0 == old.0 } }
        self.leases += noted
        network.note(noted)
    }

    package var report: String? {
        let drops = NATDropReason.allCases.filter { network.dropped($0) > 0 }.map { "\(network.dropped($0)) \($0)" }
        let streams = network.streams
        return
            "user-mode NAT: TCP connections: \(streams.count), retransmissions: \(streams.retransmissions), "
            + (drops.isEmpty ? "nothing dropped" : "dropped: " + drops.joined(separator: ", "))
    }

    package func change(published given: [PublishedPort]) throws(ChangeRefusal) {
        let published = given.map { $0.completed(by: addressing.network6) }
        // By their text, because the address of a followed guest changes with its lease.
        let before = Set(current.map(\.description)), after = Set(published.map(\.description))
        let added = published.filter { !before.contains($0.description) }
        let removed = current.filter { !after.contains($0.description) }
        // Removed first, because an added one may take the same port of the host.
        for one in removed { network.unpublish(one) }
        var done: [PublishedPort] = []
        do throws(UserNATError) {
            for one in added {
                try network.publish(one)
                done.append(one)
            }
        } catch {
            for one in done { network.unpublish(one) }
            for one in removed { try? network.publish(one) }
            guard case .port(let one, let port, let code) = error else {
                throw ChangeRefusal(.failed, "the user-mode NAT cannot publish: \(error)")
            }
            throw ChangeRefusal(publishing: one, port: port, errno: code)
        }
        current = published
        network.note(leases)
    }

    package var hasEgressPolicy: Bool { true }

    package func change(egress: EgressPolicy) throws(ChangeRefusal) {
        var policy = egress
        policy.isClosed = options.mode == .host
        network.setPolicy(policy)
    }

    package func pin(_ pins: [EgressPin], of name: DNSName, until expires: Instant) throws(ChangeRefusal) {
        network.pin(pins, of: name, until: expires)
    }

    package var pinCount: Int { network.pinCount }

    /// The gateway never carries packets from one guest to another.
    package func change(isolating: Bool) throws(ChangeRefusal) {}

    package func flows(limit: Int) -> [UplinkDetails.Flow]? {
        network.flows(limit: limit).map { key in
            UplinkDetails.Flow(
                transport: key.protocolNumber == IPProtocol.udp ? "udp" : "tcp",
                guest: UplinkDetails.SocketEnd(address: key.guestAddress.description, port: key.guestPort),
                remote: UplinkDetails.SocketEnd(address: key.remoteAddress.description, port: key.remotePort))
        }
    }

    package func change(notesRefusals: Bool) throws(ChangeRefusal) { network.refusals.setOn(notesRefusals) }

    package func takeRefusals() -> (refusals: [EgressRefusal], further: [MACAddress?: Int]) { network.takeRefusals() }

    package var refusedPackets: Int? { network.dropped(.refused) }

    package var details: UplinkDetails {
        var details = UplinkDetails()
        details.kind = "user"
        details.way6 = addressing.network6 == nil ? nil : .user
        let streams = network.streams
        if options.mode == .shared { details.egressInterfaces = HostRoutes.egressInterfaces(by: options.outbound) }
        details.counters = [
            ("tcp_connections", streams.count), ("udp_flows", network.udpFlowCount),
            ("retransmissions", streams.retransmissions),
        ]
        details.drops = NATDropReason.allCases.map { ("\($0)", network.dropped($0)) }.filter { $0.1 > 0 }
        return details
    }

    package func stop() {
        monitor?.stop()
        outboundMonitor?.stop()
        context.loop.cancel(proxyTimer)
        context.loop.cancel(noticeTimer)
        context.loop.unwatch(network.notices.notification.descriptor.raw)
        if let port { context.detach(port) }
        // No worker may be using the NAT.
        if isForwarding && !context.control.barrier() {
            context.logger.error("a worker did not leave the user-mode NAT; its memory stays allocated until the end")
            UserUplink.abandoned.withLock { $0.append(network) }
        }
        changes?.undo()
    }
}

extension NATGateway.Options {
    /// What the user has chosen for either place of a NAT: the uplink, or the IPv6 router beside a TAP.
    fileprivate init(_ network: GuestNetwork, _ hardware: MACAddress, _ options: UplinkOptions, flowLimit: Int) {
        self.init(network: network, hardware: hardware)
        mtu = options.mtu
        policy = options.egress
        policy.isClosed = options.mode == .host
        self.flowLimit = max(16, flowLimit)
        filtering = options.filtering
        outbound = options.outbound
        proxy = options.proxy
    }
}
