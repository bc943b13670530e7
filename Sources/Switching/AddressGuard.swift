// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Whose addresses are: an IPv4 address that our own DHCP has leased to one guest no other may send from, nor answer
/// for; an IPv6 address is the guest's that used it first; the gateway's addresses are no guest's. IPv4 addresses that
/// were leased to no guest may be any guest's. One thread at a time.
struct AddressGuard: ~Copyable {
    private var owners = LeaseOwners()
    /// Frames of a burst mostly claim the same.
    private var lastClaim = Claim(address: .any, hardware: .zero)
    /// `any` while it is not known.
    private(set) var gateway = IPv4Address.any
    private var gateways = GatewayAddresses()
    private var bindings: SourceBindings
    /// The IPv6 address that was last admitted as a source, by whom and when: a second later its use is to be noted
    /// again.
    private var lastSource = (
        address: IPv6Address.unspecified, station: Station(port: 0, hardware: .zero), now: UInt32(0)
    )

    /// - Parameter ports: port numbers are below this.
    init(ports: Int) { bindings = SourceBindings(ports: ports) }

    /// What a frame says of its sender.
    struct Claim: Equatable, BitwiseCopyable, Sendable {
        let address: IPv4Address
        let hardware: MACAddress
    }

    /// The gateway's addresses, as far as they are known from the start.
    mutating func setGateway(_ address: IPv4Address, _ others: [IPv6Address]) {
        gateway = address
        gateways.reset(to: others)
        forgetClaim()
    }

    /// Notes whose an address is, until then (nanoseconds).
    /// - Parameter now: seconds of the same clock.
    mutating func note(_ address: IPv4Address, _ hardware: MACAddress, until: UInt64, now: UInt32) {
        owners.note(address, LeaseOwners.Owner(hardware: hardware, until: until), now: now)
        forgetClaim()
    }

    private mutating func forgetClaim() {
        lastClaim = Claim(address: .any, hardware: .zero)
        lastSource.address = .unspecified
    }

    /// Whether this is what was last admitted, from the hardware address that it names.
    @inline(__always)
    func wasAdmitted(_ claim: Claim) -> Bool {
        claim.address == lastClaim.address && claim.hardware == lastClaim.hardware
    }

    /// Whether a guest that sends from `source` may claim this.
    /// - Parameter now: seconds of the monotonic clock.
    mutating func admits(_ claim: Claim, from source: MACAddress, now: UInt32) -> Bool {
        // Both addresses of an ARP packet are the sender's.
        if wasAdmitted(claim) && claim.hardware == source { return true }
        if claim.address == gateway && gateway != .any { return false }
        if let owner = owners.owner(of: claim.address), owner.isRunning(at: now) {
            guard owner.hardware == claim.hardware, owner.hardware == source else { return false }
        }
        if claim.hardware == source { lastClaim = claim }
        return true
    }

    // MARK: IPv6

    mutating func attach(_ port: PortNumber, bundle: UInt16, isShared: Bool) {
        bindings.attach(port, bundle: bundle, isShared: isShared)
    }

    mutating func detach(_ port: PortNumber) {
        bindings.detach(port)
        forgetClaim()
    }

    /// Forgets which IPv6 addresses the guests of a port use.
    mutating func forget(_ port: PortNumber) {
        bindings.forget(port)
        forgetClaim()
    }

    /// Whether this is the source that was last admitted.
    @inline(__always)
    func wasAdmitted(_ source: IPv6Address, from station: Station, now: UInt32) -> Bool {
        source == lastSource.address && station == lastSource.station && now == lastSource.now
    }

    /// A guest sends from an address. Returns nil where it may.
    mutating func use(_ source: IPv6Address, by station: Station, mayAsk: Bool, now: UInt32) -> SourceBindings.Refusal?
    {
        if let refusal = bindings.claim(source, by: station, mayAsk: mayAsk, now: now) { return refusal }
        lastSource = (source, station, now)
        return nil
    }

    /// A guest says by neighbour discovery that it has an address. Returns nil where it may.
    /// - Parameter isDetection: or asks whether another has it.
    mutating func claim(
        _ target: IPv6Address, by station: Station, isDetection: Bool, mayAsk: Bool, now: UInt32
    ) -> SourceBindings.Refusal? {
        defer { lastSource.address = .unspecified }
        return bindings.claim(target, by: station, isDetection: isDetection, mayAsk: mayAsk, now: now)
    }

    func isGateway(_ address: IPv6Address, now: UInt32) -> Bool { gateways.contains(address, now: now) }

    /// Learns the gateway's addresses from what the gateway itself says by neighbour discovery (RFC 4861 section 4, RFC
    /// 4862 section 5.4).
    /// - Parameters:
    ///   - packet: an IPv6 packet from the uplink, from its header on.
    ///   - isGateways: its hardware address is known to be the gateway's; else only routers are believed.
    mutating func saw(_ packet: RawSpan, isGateways: Bool, now: UInt32) {
        guard packet.byteCount >= IPv6View.headerLength else { return }
        let source = IPv6Address(packet, at: 8)
        // Nothing from such an address was forwarded.
        if isGateways && source.isLinkLocal { learn(source, now: now) }
        guard packet.byteCount >= 56, packet.byte(at: 6) == IPProtocol.icmpv6, packet.byte(at: 7) == 255 else { return }
        switch packet.byte(at: 40) {
        case NeighborDiscovery.routerAdvertisement:
            if source.isLinkLocal { learn(source, now: now) }
        case NeighborDiscovery.neighborSolicitation where packet.byteCount >= 64 && isGateways:
            // From its own address it looks for a guest's; without one it makes sure that it alone has the target.
            learn(source == .unspecified ? IPv6Address(packet, at: 48) : source, now: now)
        case NeighborDiscovery.neighborAdvertisement where packet.byteCount >= 64:
            // Router and override: an answer that is given for another, as a proxy does, does not override.
            let flags = packet.byte(at: 44)
            if flags & 0x20 != 0 && (isGateways || flags & 0x80 != 0) { learn(IPv6Address(packet, at: 48), now: now) }
        default:
            break
        }
    }

    private mutating func learn(_ address: IPv6Address, now: UInt32) {
        guard !address.isMulticast && address != .unspecified else { return }
        gateways.saw(address, now: now)
        // A guest may have been admitted with it.
        lastSource.address = .unspecified
    }
}
