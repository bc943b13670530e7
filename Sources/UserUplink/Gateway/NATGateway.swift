// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import Timing
import Uplink
import Wire

// Theory of operation
// ===================
//
// The gateway stands between the guests and what carries their traffic outside: TCPRelay for TCP, DatagramRelay for UDP
// and pings. It is a state machine without clock, threads and sockets: frames in, verdicts and frames out.
//
// Which part answers what
// -----------------------
//
//     from guests                        answered or carried by
//     ARP for the gateway                gateway
//     neighbor solicitation              gateway
//     router solicitation, DHCPv6        consumed; the router service handles them
//     DHCP, broadcast, multicast         consumed; the switch and the DHCP server handle them
//     TCP                                TCPRelay; port 53 of the gateway leads to the DNS proxy
//     UDP                                DatagramRelay; DNS to the gateway does not get here (the switch takes it out)
//     ping to the gateway                DatagramRelay
//     ping to the outside                DatagramRelay, by unprivileged ICMP sockets
//     TTL or hop limit 1                 gateway, ICMP "time exceeded"
//     refused by the policy              TCP: a reset by TCPRelay
//                                        others: gateway, ICMP "administratively prohibited", 200 errors a second
//
// The relays see only whole packets with valid checksums, from known guests, to allowed destinations.
//
// Ownership and quotas
// --------------------
//
// NeighborTable decides which hardware address may use which IP address: a lease first, then the first user. What a
// guest takes is charged to its GuestOwner: the switch port, or the leased client behind a port that several share.
// Each bounded resource is shared by FairShare, or evicts from the largest owner (FlowTable):
//
//     addresses without a lease    4,096, 16 per hardware address    NeighborTable
//     contested addresses          64                                NeighborTable
//     incomplete packets           32, 8 per source                  Reassembler
//     UDP ports and pings          1/4 of the flow limit             FlowTable in DatagramRelay
//     TCP connections              3/4 of the flow limit             FlowTable in TCPRelay
//     clients of published UDP     8,192                             DatagramClients
//     ICMP errors                  200 a second

/// The gateway of a network behind the user-mode NAT: answers ARP and neighbor discovery, verifies what guests send,
/// and enforces who may use which address and reach which destination.
package struct NATGateway: Sendable {
    /// What the gateway is made from. It does not change later.
    package struct Options: Sendable {
        /// The guests' IPv4 network with the gateway's address.
        package var network: GuestNetwork
        /// The gateway's hardware address.
        package var hardware: MACAddress
        /// The upper half of the guests' IPv6 addresses; nil for no IPv6.
        package var prefix: UInt64?
        /// The gateway's IPv6 address on the link.
        package var linkLocal = IPv6Address.customaryGateway
        /// The lower half of the gateway's address with `prefix`.
        package var interfaceID: UInt64 = 1
        /// Another station is the gateway to the host, and to IPv4: this one is the router to the outside over IPv6,
        /// and nothing else.
        package var isBesideGateway = false
        /// Bytes of the longest IP packet on the guests' link.
        package var mtu = 1500
        /// Which destinations guests may reach.
        package var policy = EgressPolicy()
        /// TCP to the gateway's port 53 goes to the DNS proxy. DNS over UDP does not get here.
        package var answersDNS = false
        /// TCP goes through this proxy, and nothing else leaves; nil for none.
        package var proxy: ProxyServer?
        /// Which datagrams reach a guest's UDP port.
        package var filtering = DatagramFiltering.address
        /// The outbound path of all flows; nil: the system's routes.
        package var outbound: Outbound?
        /// Flows at a time: TCP connections, and sockets for UDP and pings.
        package var flowLimit = 4096

        package init(network: GuestNetwork, hardware: MACAddress) {
            self.network = network
            self.hardware = hardware
        }
    }

    /// What is to be done with a frame.
    package enum Verdict: Equatable, Sendable {
        /// It is a TCP segment for the relay.
        case tcp(InboundSegment)
        /// The same in this reassembled frame.
        case tcpReassembled(InboundSegment, [UInt8])
        /// It is a datagram for the relay.
        case datagram(InboundDatagram)
        /// The same in this reassembled frame.
        case datagramReassembled(InboundDatagram, [UInt8])
        /// It is an ICMP error of a guest for the TCP segment with this sequence number.
        case unreachable(FlowKey, sequence: UInt32)
        /// It is a TCP segment that the policy refuses: the relay answers it with a reset.
        case refusedTCP(InboundSegment)
        /// The gateway has handled it, or it concerns nothing here.
        case consumed
        case drop(NATDropReason)
    }

    /// Finds out whether a TCP segment belongs to a connection, or a datagram to a client of a published port. Called
    /// only if the policy refuses its destination; a published port may have opened a connection from there.
    package typealias ConnectionLookup = (_ key: FlowKey, _ isSYN: Bool, _ hardware: MACAddress) -> Bool

    /// Where a guest's frame comes from, and what is known about it.
    struct FrameInfo {
        let hardware: MACAddress
        /// The destination is a group address.
        let isGroup: Bool
        /// Checksums of the transport layer are to be verified.
        var isComplete: Bool
        /// It has come in fragments.
        var isReassembled = false
        let now: Instant
    }

    /// See `Options`.
    package internal(set) var options: Options
    let relayPolicy: RelayPolicy
    /// The gateway's IPv6 addresses: on the link, and with the prefix.
    let linkLocal: IPv6Address
    let gateway6: IPv6Address?
    /// IPv6 networks that guests do not reach here, whatever the policy: connections by this host's sockets would come
    /// from this host itself.
    var closedNetworks: [IPv6Network] = []
    var neighbors = GuestNeighbors()
    /// Addresses of names, beside what the policy allows by address.
    var pins = PinTable()
    /// UDP flows that pins have allowed: they outlive their pins while they are in use.
    var pinnedFlows = PinnedFlows(capacity: 1024)
    var reassembler = Reassembler()
    /// ICMP errors sent in `icmpErrorSecond`.
    var icmpErrors = FairShare(capacity: 200)
    var icmpErrorSecond = CoarseInstant.distantPast
    /// The end of each client's lease. The number of addresses to lease bounds them.
    private var leaseHolders: [MACAddress: Instant] = [:]
    /// Returns the switch port by which a guest's frames come in.
    package var locate: @Sendable (MACAddress) -> FrameOrigin? = { _ in nil }
    /// Frames that the owner is to send to guests; it empties the list.
    package var toGuests: [[UInt8]] = []

    /// A gateway without neighbours and flows.
    package init(_ options: Options) {
        self.options = options
        relayPolicy = RelayPolicy(options)
        linkLocal = options.linkLocal
        gateway6 = relayPolicy.gateway6
    }

    /// A lease was given: `address` belongs to this client until then.
    package mutating func lease(_ address: IPv4Address, to hardware: MACAddress, until end: Instant, now: Instant) {
        if let before = neighbors.ipv4.hardware(of: address), before != hardware { leaseHolders[before] = nil }
        leaseHolders[hardware] = end
        neighbors.ipv4.lease(address, to: hardware, by: owner(of: hardware, now: now), until: end, now: now)
    }

    /// Whether `tick` has something to do in the next second.
    package var needsTick: Bool { neighbors.ipv4.hasClaims || neighbors.ipv6.hasClaims }

    /// To be called when a second has passed.
    package mutating func tick(now: Instant) {
        if neighbors.ipv4.hasClaims {
            for probe in neighbors.ipv4.settleClaims(now: now) {
                sendARPRequest(for: probe.address, to: probe.hardware)
            }
        }
        if neighbors.ipv6.hasClaims {
            for probe in neighbors.ipv6.settleClaims(now: now) {
                sendSolicitation(for: probe.address, to: probe.hardware)
            }
        }
    }

    // MARK: Owners

    private func hasLease(_ hardware: MACAddress, _ now: Instant) -> Bool {
        (leaseHolders[hardware] ?? .distantPast) > now
    }

    /// The guest to charge for what a hardware address does: its port. Behind a port that several share, each client
    /// with a lease is one guest, and all others together are another.
    private func owner(of hardware: MACAddress, now: Instant) -> GuestOwner {
        let origin = locate(hardware)
        if let origin, !origin.isShared { return .port(origin.port) }
        if hasLease(hardware, now) { return .hardware(hardware) }
        return origin.map { .port($0.port) } ?? .unknown
    }

    func owner(of address: IPv4Address) -> GuestOwner { neighbors.ipv4.owner(of: address) ?? GuestOwner(address) }

    func owner(of address: IPv6Address) -> GuestOwner { neighbors.ipv6.owner(of: address) ?? .address(address) }

    func owner(of key: FlowKey) -> GuestOwner { key.isIPv6 ? owner(of: key.guest) : owner(of: key.guestIPv4) }

    /// Whether a hardware address may use an IP address. A contested one is probed.
    mutating func admit(_ hardware: MACAddress, as address: IPv4Address, now: Instant) -> Bool {
        if neighbors.ipv4.refresh(hardware, as: address, now: now) { return true }
        let admission = neighbors.ipv4.claim(
            hardware, as: address, by: owner(of: hardware, now: now), hasLease: hasLease(hardware, now), now: now)
        if case .contested(let holder) = admission { sendARPRequest(for: address, to: holder) }
        return admission == .admitted
    }

    mutating func admit(_ hardware: MACAddress, as address: IPv6Address, now: Instant) -> Bool {
        if neighbors.ipv6.refresh(hardware, as: address, now: now) { return true }
        let admission = neighbors.ipv6.claim(
            hardware, as: address, by: owner(of: hardware, now: now), hasLease: hasLease(hardware, now), now: now)
        if case .contested(let holder) = admission { sendSolicitation(for: address, to: holder) }
        return admission == .admitted
    }

    /// Whether `address` is one that a guest can have.
    func isGuest(_ address: IPv4Address) -> Bool {
        let network = options.network
        return network.network.contains(address) && address != network.gateway && address != network.network.base
            && address != network.network.broadcast
    }

    // MARK: Frames

    /// Judges a frame of a guest.
    /// - Parameters:
    ///   - isComplete: its transport checksum is to be verified. Otherwise it is known to be right, or was left for
    ///     completion.
    ///   - hasConnection: finds the relays' connections and clients.
    package mutating func fromGuest(
        _ frame: RawSpan, isComplete: Bool = true, now: Instant,
        hasConnection: ConnectionLookup = { _, _, _ in false }
    ) -> Verdict {
        guard let ethernet = try? EthernetView(frame) else { return .drop(.malformed) }
        let destination = ethernet.destination
        guard destination == options.hardware || destination.isGroup else { return .consumed }
        let info = FrameInfo(
            hardware: ethernet.source, isGroup: destination.isGroup, isComplete: isComplete, now: now)
        if options.isBesideGateway && ethernet.type != EtherType.ipv6 { return .consumed }
        switch ethernet.type {
        case EtherType.arp: return arp(ethernet.payload, info)
        case EtherType.ipv4: return ipv4(frame, info, hasConnection)
        case EtherType.ipv6: return ipv6(frame, info, hasConnection)
        default: return .consumed
        }
    }
}
