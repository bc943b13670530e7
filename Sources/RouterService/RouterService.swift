// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import Platform
import Switching
import Timing
import Wire

/// The gateway's part as the IPv6 router of guests, besides forwarding: router advertisements, and DHCPv6.
///
/// # Theory of operation
///
///     guest --solicitation--> switch --frame--> RouterService --> RouterAdvertiser
///     guest --DHCPv6--> switch --frame--> RouterService --> DHCPv6Server
///     RouterAdvertiser, DHCPv6Server --frame--> SwitchControl.sendFromService --> guest, or all guests
///
/// Frames instead of a socket on the TAP, as for DHCP: no other program of the host takes part, the host's firewall
/// does not apply, and it works without a TAP as well. All of it runs on the control thread. `RouterAdvertiser` and
/// `DHCPv6Server` have no clock and no socket.
package final class RouterService {
    /// Requests that are handled before other work of this thread.
    private static let burst = 32
    /// Seconds for which a prefix is valid and preferred (RFC 9096 section 3.1), so that guests drop the addresses of a
    /// network that is gone.
    private static let validLifetime: UInt32 = 5400, preferredLifetime: UInt32 = 2700
    /// Seconds for which guests use the router and the name server: three times the longest interval (RFC 4861 section
    /// 6.2.1, RFC 8106 section 5.1).
    private static let lifetime: UInt16 = 1800
    /// `ff02::1:2`, all DHCPv6 servers and relays (RFC 8415 section 7.1).
    private static let allServers = IPv6Address(0xff02 << 48, 0x1_0002)
    /// Bytes of search domains, so that an advertisement fits every link.
    private static let domainBytes = 512

    /// What the service advertises.
    package struct Contents: Equatable, Sendable {
        /// The guests' network.
        package var network: IPv6Network
        /// The router's address on the link.
        package var address: IPv6Address
        /// The router's hardware address.
        package var hardware: MACAddress
        /// Guests may use the router.
        package var isRouter = false
        /// Guests' packets can leave the host.
        package var hasEgress = false
        /// Bytes of the longest packet.
        package var mtu = 1500
        /// DNS servers.
        package var nameServers: [IPv6Address] = []
        /// Search domains. Those that are no names are left out.
        package var searchDomains: [String] = []
        /// The prefix of the NAT64 that this host is behind, or was; nil for none.
        var nat64: NAT64Prefix?
        /// This host is behind it now.
        var hasNAT64 = false
        /// Addresses that DHCPv6 assigns.
        package var reservations: [MACAddress: IPv6Address] = [:]

        /// A network without a router and name servers.
        package init(_ network: IPv6Network, address: IPv6Address, hardware: MACAddress) {
            self.network = network
            self.address = address
            self.hardware = hardware
        }

        var advertisement: RouterAdvertisement {
            var made = RouterAdvertisement(hardware: hardware)
            made.routerLifetime = isRouter && hasEgress ? RouterService.lifetime : 0
            made.mtu = UInt32(max(IPv6Header.minimumMTU, mtu))
            made.prefix = network.base.high
            made.validLifetime = RouterService.validLifetime
            made.preferredLifetime = RouterService.preferredLifetime
            made.isManaged = !reservations.isEmpty
            made.hasOtherInformation = !nameServers.isEmpty
            made.nameServers = nameServers
            made.searchDomains = fittedDomains.fitting
            made.namesLifetime = UInt32(RouterService.lifetime)
            made.nat64 = nat64
            made.nat64Lifetime = hasNAT64 ? made.routerLifetime : 0
            return made
        }

        /// The search domains that fit, and the others.
        var fittedDomains: (fitting: [DNSName], others: [DNSName]) {
            var fitting: [DNSName] = [], others: [DNSName] = [], room = RouterService.domainBytes
            for domain in nameServers.isEmpty ? [] : searchDomains.compactMap({ DNSName($0) }) {
                let count = domain.bytes.count
                if count <= room {
                    room -= count
                    fitting.append(domain)
                } else {
                    others.append(domain)
                }
            }
            return (fitting, others)
        }

        var assignments: DHCPv6Server.Contents {
            var made = DHCPv6Server.Contents(network)
            made.preferredLifetime = RouterService.preferredLifetime
            made.validLifetime = RouterService.validLifetime
            made.reservations = reservations
            made.nameServers = nameServers
            made.searchDomains = fittedDomains.fitting
            return made
        }
    }

    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    private var contents: Contents
    private var advertiser: RouterAdvertiser
    private let server: DHCPv6Server
    private var timer: ControlLoop.TimerID?
    /// The addresses that the switch keeps for the guests that they are reserved for.
    private var bound: [IPv6Address: MACAddress] = [:]
    /// Search domains that the log has named.
    private var notedDomains: Set<DNSName> = []
    /// The host's search domains may change without end.
    private static let mostNotedDomains = 256
    /// Whether guests get advertisements and answers: not where another server gives them addresses.
    private var isServing = true
    /// Whether guests may have had an advertisement.
    private var hasAdvertised = false
    /// Called before guests get an advertisement: updates what depends on the host.
    package var refresh: (inout Contents) -> Void = { _ in }

    /// Guests' solicitations are answered from now on.
    package init(_ contents: Contents, loop: ControlLoop, control: SwitchControl, logger: Logger) {
        self.loop = loop
        self.control = control
        self.logger = logger
        self.contents = contents
        server = DHCPv6Server(hardware: contents.hardware)
        advertiser = RouterAdvertiser(contents.advertisement, from: contents.address, now: BootClock.now)
        control.setRouterService(true)
    }

    /// Serves guests, after `pause` or `resign`.
    package func serve() {
        guard !isServing else { return }
        isServing = true
        control.setRouterService(true)
        advertiser.restart(now: BootClock.now)
        update()
    }

    /// Sends nothing, until `serve` or `resign` is called.
    package func pause() {
        isServing = false
        control.setRouterService(false)
        bind([:])
        loop.cancel(timer)
        timer = nil
    }

    /// Leaves guests to another server. Those that have had advertisements are sent the end of the router and its
    /// prefix.
    package func resign() {
        pause()
        if hasAdvertised { control.sendFromService(advertiser.resignation) }
        hasAdvertised = false
    }

    /// Advertises the router to all guests, after the switch has its ports.
    package func start() { update() }

    /// Advertises what `refresh` sets now. Called after reservations have changed.
    package func refreshContents() { update() }

    /// Sets whether guests' packets can leave the host.
    package func setEgress(_ hasEgress: Bool) {
        guard hasEgress != contents.hasEgress else { return }
        contents.hasEgress = hasEgress
        if contents.isRouter {
            logger.info(
                """
                guests \(hasEgress ? "reach" : "do not reach") the outside over IPv6, as this host \
                \(hasEgress ? "does" : "does not")
                """)
        }
        update()
    }

    /// Sets the prefix of the NAT64 that this host is behind; nil for none, which ends an earlier one for guests.
    package func setNAT64(_ prefix: NAT64Prefix?) {
        let before = (contents.nat64, contents.hasNAT64)
        contents.hasNAT64 = prefix != nil
        if let prefix { contents.nat64 = prefix }
        guard before != (contents.nat64, contents.hasNAT64) else { return }
        logger.info(
            prefix.map { "guests get the prefix of this host's NAT64, \($0)" }
                ?? "this host is not behind a NAT64 any more, and guests get no prefix of it")
        update()
    }

    /// Handles the requests that guests have sent since the last call, up to a bound.
    package func receive() {
        var count = 0
        while count < RouterService.burst, let frame = control.removeRouterRequest() {
            count += 1
            if isServing { receive(frame.bytes) }
        }
        if count == RouterService.burst { control.notification.signal() }
        if count > 0 { update() }
    }

    private func receive(_ frame: [UInt8]) {
        guard let ethernet = try? EthernetView(frame.rawSpan), let packet = try? IPv6View(ethernet.payload) else {
            return
        }
        if packet.nextHeader == IPProtocol.udp { return receive(packet, from: ethernet.source) }
        guard packet.nextHeader == IPProtocol.icmpv6, packet.hopLimit == NeighborDiscovery.hopLimit,
            let message = try? ICMPv6View(packet.payload), message.type == ICMPv6Type.routerSolicitation,
            message.code == 0, message.hasValidChecksum(packet.pseudoHeader),
            packet.source == .unspecified || packet.source.isLinkLocal || contents.network.contains(packet.source)
        else { return }
        if let answer = advertiser.solicit(from: (packet.source, ethernet.source), now: BootClock.now) {
            control.sendFromService(answer)
        }
    }

    /// Answers a DHCPv6 message, which a client sends to the group of servers.
    private func receive(_ packet: borrowing IPv6View, from hardware: MACAddress) {
        guard packet.source.isLinkLocal, packet.destination == RouterService.allServers,
            let datagram = try? UDPView(packet.payload), datagram.destinationPort == DHCPPort.serverIPv6,
            datagram.bytes.byteCount == packet.payload.byteCount, datagram.hasValidChecksum(packet.pseudoHeader),
            let message = try? DHCPv6Message(parsing: datagram.payload),
            let answer = server.answer(to: message, from: hardware, contents.assignments)
        else { return }
        let header = IPv6Header(source: contents.address, destination: packet.source, nextHeader: IPProtocol.udp)
        control.sendFromService(
            UDPFrame.bytes(
                header, from: (contents.hardware, DHCPPort.serverIPv6), to: (hardware, DHCPPort.clientIPv6),
                payload: answer.bytes))
    }

    /// Sends what is due, and sets the timer.
    private func update() {
        guard isServing else { return }
        let now = BootClock.now
        refresh(&contents)
        noteDomains(contents.fittedDomains.others)
        bind(contents.reservations)
        advertiser.change(contents.advertisement, now: now)
        if let frame = advertiser.tick(now: now, random: Random.value()) {
            hasAdvertised = true
            control.sendFromService(frame)
        }
        loop.cancel(timer)
        timer = loop.schedule(at: advertiser.nextDeadline) { [unowned self] in update() }
    }

    /// Reserved addresses are their guests' alone, before DHCPv6 has assigned them too, while this service does.
    private func bind(_ reservations: [MACAddress: IPv6Address]) {
        var addresses: [IPv6Address: MACAddress] = [:]
        for (hardware, address) in reservations { addresses[address] = hardware }
        guard addresses != bound else { return }
        bound = addresses
        control.reserve(addresses)
    }

    /// Logs search domains that do not fit, each once.
    private func noteDomains(_ others: [DNSName]) {
        let new = others.filter { !notedDomains.contains($0) }
        guard !new.isEmpty, notedDomains.count < RouterService.mostNotedDomains else { return }
        notedDomains.formUnion(new)
        let names = new.map(\.description).joined(separator: ", ")
        logger.warning(
            """
            search domains that do not fit into router advertisements: \(names); use fewer ones, or choose them by \
            --dhcp-option domain-search=NAME,NAME
            """)
    }

    /// Stops to serve guests.
    /// - Parameter isForwarding: workers run, so the last advertisement reaches guests.
    package func close(isForwarding: Bool) {
        control.setRouterService(false)
        loop.cancel(timer)
        guard isForwarding, isServing else { return }
        control.sendFromService(advertiser.farewell)
        // Before ports are detached.
        _ = control.barrier()
    }
}
