// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// IP source guard: which source addresses a guest may use.
///
/// * An IPv4 address that this program's DHCP server has leased is the lease holder's alone, as source and in ARP. IPv4
///   addresses that were leased to no guest may be used by any guest, but one guest may use only so many of those that
///   the host keeps as neighbours.
/// * An address that is reserved for a guest, and leased to no other one, is that guest's alone.
/// * Another IPv6 address is the guest's that has used it first (`SourceBindings`).
/// * The gateway's addresses are no guest's.
///
/// Used by one thread at a time. Times are in seconds of the clock.
struct SourceGuard: ~Copyable {
    private var leases = LeaseBindings()
    private var reserved: [IPv4Address: MACAddress] = [:]
    private var reserved6: [IPv6Address: MACAddress] = [:]
    /// Frames of a burst mostly have the same claim.
    private var lastClaim = Claim(address: .any, hardware: .zero)
    /// `any` while it is not known.
    private(set) var gateway = IPv4Address.any
    /// The gateway's network; nil while it is not known.
    private var network: IPv4Network?
    private var gateways = GatewayAddresses()
    private var bindings: SourceBindings
    /// The IPv6 source that was last permitted, for whom and when: a second later its use is recorded again.
    private var lastSource = (
        address: IPv6Address.unspecified, station: Station(port: 0, hardware: .zero), now: CoarseInstant.distantPast
    )

    /// The length of the prefix of a network of 512 addresses, from which on Linux removes neighbours (gc_thresh2).
    private static let smallNetwork = 23

    /// - Parameter ports: port numbers are below this.
    init(ports: Int) { bindings = SourceBindings(ports: ports) }

    /// The sender's addresses in a frame.
    struct Claim: Equatable, BitwiseCopyable, Sendable {
        let address: IPv4Address
        let hardware: MACAddress
    }

    /// What becomes of a frame with a claim.
    enum Verdict {
        case permitted
        /// The address is another station's.
        case refused
        /// The guest uses too many addresses.
        case tooMany
    }

    /// Sets the gateway's addresses and network, as far as they are known from the start.
    mutating func setGateway(_ address: IPv4Address, _ network: IPv4Network?, _ others: [IPv6Address]) {
        gateway = address
        self.network = network
        gateways.reset(to: others)
        forgetLast()
    }

    /// Binds an IPv4 address to a lease holder.
    mutating func bind(_ address: IPv4Address, to hardware: MACAddress, until: Instant, now: CoarseInstant) {
        leases.bind(address, LeaseBindings.Holder(hardware: hardware, until: until), now: now)
        forgetLast()
    }

    /// Sets the IPv4 addresses that are reserved for guests.
    mutating func reserve(_ addresses: [IPv4Address: MACAddress]) {
        reserved = addresses
        forgetLast()
    }

    /// Sets the IPv6 addresses that are reserved for guests. Other guests lose them.
    mutating func reserve(_ addresses: [IPv6Address: MACAddress]) {
        reserved6 = addresses
        for (address, owner) in addresses {
            if let holder = bindings.holder(of: address), holder.hardware != owner { bindings.release(address) }
        }
        forgetLast()
    }

    /// The only hardware address that may use an IPv4 address; nil if any may.
    private func owner(of address: IPv4Address, _ now: CoarseInstant) -> MACAddress? {
        if let holder = leases.holder(of: address), holder.isCurrent(at: now) { return holder.hardware }
        return reserved.isEmpty ? nil : reserved[address]
    }

    private mutating func forgetLast() {
        lastClaim = Claim(address: .any, hardware: .zero)
        lastSource.address = .unspecified
    }

    /// Whether this is the claim that was permitted last, from the hardware address that it names.
    @inline(__always)
    func wasPermitted(_ claim: Claim) -> Bool {
        claim.address == lastClaim.address && claim.hardware == lastClaim.hardware
    }

    /// Judges a guest's claim. `station` is the sender.
    /// - Parameters:
    ///   - target: of an ARP packet, which may learn the claim; nil for an IP packet.
    ///   - isRouter: the guest sends packets of others.
    mutating func judge(
        _ claim: Claim, by station: Station, target: IPv4Address?, isRouter: Bool, now: CoarseInstant
    ) -> Verdict {
        // Both addresses of an ARP packet are the sender's.
        if wasPermitted(claim) && claim.hardware == station.hardware { return .permitted }
        if claim.address == gateway && gateway != .any { return .refused }
        // A foreign address counts in ARP only, so it is judged each time.
        var isRemembered = network?.contains(claim.address) ?? true
        if let owner = owner(of: claim.address, now) {
            guard owner == claim.hardware, owner == station.hardware else { return .refused }
            isRemembered = true
        } else if !isRouter, isNeighbor(claim.address, target), !bindings.claim(claim.address, by: station, now: now) {
            return .tooMany
        }
        if isRemembered && claim.hardware == station.hardware { lastClaim = claim }
        return .permitted
    }

    /// Whether the host learns an address as that of a neighbour: one of its network, because it answers there, and
    /// any that sends ARP requests for the gateway. The addresses of a network of 512 or fewer fit into the host's
    /// table.
    private func isNeighbor(_ address: IPv4Address, _ target: IPv4Address?) -> Bool {
        guard let network else { return false }
        return network.contains(address) ? network.prefixLength < SourceGuard.smallNetwork : target == gateway
    }

    // MARK: IPv6

    mutating func attach(_ port: PortNumber, group: UInt16, isShared: Bool) {
        bindings.attach(port, group: group, isShared: isShared)
    }

    mutating func detach(_ port: PortNumber) {
        bindings.detach(port)
        forgetLast()
    }

    /// Removes the IPv6 addresses that the guests of a port use.
    mutating func forget(_ port: PortNumber) {
        bindings.forget(port)
        forgetLast()
    }

    /// The IPv6 addresses that guests have used.
    func sources() -> [KnownSource] { bindings.all() }

    /// The IPv6 addresses that a guest has used within the last `age`, the most stable ones first.
    func addresses(of station: Station, in network: IPv6Network, age: TimeAmount, now: CoarseInstant) -> [IPv6Address] {
        bindings.addresses(of: station, in: network, age: age, now: now)
    }

    /// The guest that holds an IPv6 address.
    func holder(of address: IPv6Address) -> Station? { bindings.holder(of: address) }

    /// Whether this is the source that was permitted last.
    @inline(__always)
    func wasPermitted(_ source: IPv6Address, from station: Station, now: CoarseInstant) -> Bool {
        source == lastSource.address && station == lastSource.station && now == lastSource.now
    }

    /// A guest sends from an address. Returns nil if it may.
    mutating func bindSource(
        _ source: IPv6Address, by station: Station, maySolicit: Bool, now: CoarseInstant
    ) -> SourceBindings.Refusal? {
        if let refusal = refusal(ofReserved: source, by: station, now) { return refusal }
        if let refusal = bindings.claim(source, by: station, maySolicit: maySolicit, now: now) { return refusal }
        lastSource = (source, station, now)
        return nil
    }

    /// The refusal of an address that is reserved for another guest than `station`.
    private func refusal(
        ofReserved address: IPv6Address, by station: Station, _ now: CoarseInstant
    ) -> SourceBindings.Refusal? {
        guard !reserved6.isEmpty, let owner = reserved6[address], owner != station.hardware else { return nil }
        let holder = bindings.holder(of: address)
        return SourceBindings.Refusal(
            holder: holder?.port, isReserved: true, isNew: bindings.isDetecting(address, now), solicitation: nil)
    }

    /// A guest claims an address by neighbour discovery. Returns nil if it may.
    /// - Parameter isDetection: the guest looks for duplicates of the address (RFC 4862 section 5.4).
    mutating func bindTarget(
        _ target: IPv6Address, by station: Station, isDetection: Bool, maySolicit: Bool, now: CoarseInstant
    ) -> SourceBindings.Refusal? {
        defer { lastSource.address = .unspecified }
        if let refusal = refusal(ofReserved: target, by: station, now) { return refusal }
        return bindings.claim(target, by: station, isDetection: isDetection, maySolicit: maySolicit, now: now)
    }

    func isGateway(_ address: IPv6Address, now: CoarseInstant) -> Bool { gateways.contains(address, now: now) }

    /// Learns the gateway's addresses from the gateway's own neighbour discovery (RFC 4861 section 4, RFC 4862 section
    /// 5.4).
    /// - Parameters:
    ///   - packet: an IPv6 packet from the uplink, from its header on.
    ///   - isFromGateway: its hardware address is known to be the gateway's. From other stations only router
    ///     advertisements and routers' overriding advertisements count.
    mutating func learnGateway(from packet: RawSpan, isFromGateway: Bool, now: CoarseInstant) {
        guard packet.byteCount >= IPv6Header.length else { return }
        let source = IPv6Address(packet, at: IPv6Header.Field.source)
        // Routers forward no packet with a link-local source.
        if isFromGateway && source.isLinkLocal { learn(source, now: now) }
        let message = IPv6Header.length
        guard packet.byteCount >= message + NeighborDiscovery.routerAdvertisementLength,
            packet.byte(at: IPv6Header.Field.nextHeader) == IPProtocol.icmpv6,
            packet.byte(at: IPv6Header.Field.hopLimit) == NeighborDiscovery.hopLimit
        else { return }
        let hasTarget = packet.byteCount >= message + NDPView.headerLength, target = message + NDPView.Field.target
        switch packet.byte(at: message + ICMPHeader.Field.type) {
        case ICMPv6Type.routerAdvertisement:
            if source.isLinkLocal { learn(source, now: now) }
        case ICMPv6Type.neighborSolicitation where hasTarget && isFromGateway:
            // From its own address it looks for a guest; without one it looks for duplicates of the target.
            learn(source == .unspecified ? IPv6Address(packet, at: target) : source, now: now)
        case ICMPv6Type.neighborAdvertisement where hasTarget:
            // Router and override: a proxy's advertisement for another station does not override.
            let flags = packet.byte(at: message + NDPView.Field.flags)
            if flags & NDPView.Flags.override != 0 && (isFromGateway || flags & NDPView.Flags.router != 0) {
                learn(IPv6Address(packet, at: target), now: now)
            }
        default:
            break
        }
    }

    private mutating func learn(_ address: IPv6Address, now: CoarseInstant) {
        guard !address.isMulticast && address != .unspecified else { return }
        gateways.record(address, now: now)
        // A guest may have been permitted to use it.
        lastSource.address = .unspecified
    }
}
