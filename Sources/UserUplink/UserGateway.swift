// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import Uplinks
import Wire

/// Why a frame between guests and the user-mode NAT went no further.
package enum UserDrop: Int, CaseIterable, Sendable {
    /// Lengths or fields that contradict each other.
    case malformed
    case badChecksum
    /// A source that is not the sender's.
    case spoofed
    /// Fragments that overlap, are too many, or were never complete.
    case fragment
    /// What this network does not carry: protocols, options, extension headers.
    case unsupported
    /// The policy refuses the destination.
    case refused
    /// Too many conversations at a time.
    case flows
    /// The library did not keep up.
    case queueFull
}

/// The gateway of a network that a user-mode NAT leads out, between the guests and the library: it answers ARP and
/// neighbour discovery for itself and towards the library for the guests, checks everything that the library is to see,
/// who speaks for which address, and where guests may go. A state machine: frames in, frames out; time in seconds.
package struct UserGateway: Sendable {
    package struct Options: Sendable {
        package var network: GuestNetwork
        /// The gateway's own.
        package var hardware: MACAddress
        /// The upper half of the guests' IPv6 addresses; nil for none.
        package var prefix: UInt64?
        package var mtu = 1500
        package var policy = EgressPolicy()
        /// TCP to the gateway's port 53 is for the name server. Questions by UDP do not come this way.
        package var answersNames = false
        /// Conversations at a time.
        package var flowLimit = 4096

        package init(network: GuestNetwork, hardware: MACAddress) {
            self.network = network
            self.hardware = hardware
        }
    }

    /// What becomes of a frame.
    package enum Verdict: Equatable, Sendable {
        /// It goes on to the other side, as it is now.
        case pass
        /// This one goes on in its place.
        case passInstead([UInt8])
        /// A segment of TCP, which is ended here.
        case tcp(TCPArrival)
        /// The same of a packet that has come in pieces, and this is the frame.
        case tcpInstead(TCPArrival, [UInt8])
        /// It was for nobody else.
        case done
        case drop(UserDrop)
    }

    /// A segment of a guest's, in which everything was looked at but what it says of its connection.
    package struct TCPArrival: Equatable, Sendable {
        package let key: FlowKey
        package let hardware: MACAddress
        /// Where it lies in the frame.
        let segment: Range<Int>
        /// Whether the policy lets it begin a connection.
        package let isAllowed: Bool
    }

    package let options: Options
    /// The gateway's addresses for IPv6: on the link, and with the prefix.
    let linkLocal = IPv6Address.customaryGateway
    let gateway6: IPv6Address?
    var neighbors = NeighborTable<IPv4Address>()
    var neighbors6 = NeighborTable<IPv6Address>()
    /// Conversations by UDP that have begun outside, at published ports.
    var callers = FlowTable(capacity: 1024)
    var lingering: LingeringPorts
    private var reassembler = Reassembler()
    /// Refusals that were told in `refusalSecond`.
    var refusals = FairShare(capacity: 200)
    var refusalSecond: UInt64 = 0
    /// Clients with a lease, and its end in seconds. There are no more of them than addresses to lease.
    private var leaseHolders: [MACAddress: UInt64] = [:]
    /// By which port a guest's frames come in.
    package var locate: @Sendable (MACAddress) -> FrameOrigin? = { _ in nil }
    /// Frames of our own that are to be sent to the guests, and to be handed to the library.
    package var toGuests: [[UInt8]] = []
    package var toStack: [[UInt8]] = []

    package init(_ options: Options) {
        self.options = options
        gateway6 = options.prefix.map { IPv6Address($0, 1) }
        lingering = LingeringPorts(capacity: max(16, options.flowLimit / 4))
    }

    /// A lease of ours: `address` belongs to this client until then (seconds).
    package mutating func lease(_ address: IPv4Address, to hardware: MACAddress, until end: UInt64, now: UInt64) {
        if let before = neighbors.hardware(of: address), before != hardware { leaseHolders[before] = nil }
        leaseHolders[hardware] = end
        neighbors.lease(address, to: hardware, by: owner(of: hardware, now: now), until: end, now: now)
    }

    // MARK: Who is charged for what

    private func hasLease(_ hardware: MACAddress, _ now: UInt64) -> Bool { (leaseHolders[hardware] ?? 0) > now }

    /// The guest at whose account a hardware address lives: its port. Behind one that many share, who has a lease is
    /// one, and all others are another.
    private func owner(of hardware: MACAddress, now: UInt64) -> GuestOwner {
        let origin = locate(hardware)
        if let origin, !origin.isShared { return .port(origin.port) }
        if hasLease(hardware, now) { return .hardware(hardware) }
        return origin.map { .port($0.port) } ?? .unknown
    }

    func owner(of address: IPv4Address) -> GuestOwner { neighbors.owner(of: address) ?? GuestOwner(address) }

    func owner(of key: FlowKey) -> GuestOwner {
        if key.isIPv6 { return neighbors6.owner(of: key.guest) ?? .address(key.guest) }
        return owner(of: IPv4Address(UInt32(truncatingIfNeeded: key.guest.low)))
    }

    /// Whether a guest may speak for an address.
    private mutating func admits(_ hardware: MACAddress, as address: IPv4Address, now: UInt64) -> Bool {
        if neighbors.knows(hardware, as: address, now: now) { return true }
        switch neighbors.claim(
            hardware, as: address, by: owner(of: hardware, now: now), hasLease: hasLease(hardware, now), now: now)
        {
        case .admitted: return true
        case .refused: return false
        case .contested(let holder):
            ask(for: address, at: holder)
            return false
        }
    }

    mutating func admits(_ hardware: MACAddress, as address: IPv6Address, now: UInt64) -> Bool {
        if neighbors6.knows(hardware, as: address, now: now) { return true }
        switch neighbors6.claim(
            hardware, as: address, by: owner(of: hardware, now: now), hasLease: hasLease(hardware, now), now: now)
        {
        case .admitted: return true
        case .refused: return false
        case .contested(let holder):
            ask(for: address, at: holder)
            return false
        }
    }

    /// Whether `tick` has something to do in the next second.
    package var needsTick: Bool { neighbors.hasClaims || neighbors6.hasClaims }

    /// A second has passed.
    package mutating func tick(now: UInt64) {
        if neighbors.hasClaims { for one in neighbors.settle(now: now) { ask(for: one.address, at: one.hardware) } }
        if neighbors6.hasClaims { for one in neighbors6.settle(now: now) { ask(for: one.address, at: one.hardware) } }
    }

    private var gatewayKey: IPv6Address { IPv6Address(0, UInt64(options.network.gateway.value)) }

    /// Where a guest's connection leads: services on this host's loopback address are behind the gateway's, if at all.
    func destination(of key: FlowKey) -> SocketAddress {
        if key.isIPv6 {
            return SocketAddress(key.remote == gateway6 ? IPv6Address(0, 1) : key.remote, port: key.remotePort)
        }
        let address = IPv4Address(UInt32(truncatingIfNeeded: key.remote.low))
        guard address == options.network.gateway else { return SocketAddress(address, port: key.remotePort) }
        return SocketAddress(IPv4Address(0x7f00_0001), port: key.remotePort)
    }

    /// Whether a guest's connection is to the name server.
    func isForNames(_ key: FlowKey) -> Bool { options.answersNames && key.remotePort == 53 && key.remote == gatewayKey }

    // MARK: From guests

    /// Judges a guest's frame.
    /// - Parameter isComplete: its checksums are to be looked at; else whoever handed it over knows that they are
    ///   right, or left them open.
    package mutating func fromGuest(_ frame: RawSpan, isComplete: Bool = true, now: UInt64) -> Verdict {
        guard frame.byteCount >= 14 else { return .drop(.malformed) }
        let destination = MACAddress(frame.big64(at: 0) >> 16), source = MACAddress(frame.big64(at: 6) >> 16)
        guard destination == options.hardware || destination.isGroup else { return .done }
        switch frame.big16(at: 12) {
        case EtherType.arp: return arp(frame.from(14), from: source, now: now)
        case EtherType.ipv4: return ipv4(frame, from: source, isGroup: destination.isGroup, isComplete, now: now)
        case EtherType.ipv6: return ipv6(frame, from: source, isGroup: destination.isGroup, isComplete, now: now)
        default: return .done
        }
    }

    private mutating func arp(_ bytes: RawSpan, from source: MACAddress, now: UInt64) -> Verdict {
        guard let packet = try? ARPPacket(parsing: bytes) else { return .drop(.malformed) }
        let sender = packet.senderAddress
        guard packet.senderHardware == source else { return .drop(.spoofed) }
        if sender != .any {
            guard isGuest(sender), admits(source, as: sender, now: now) else { return .drop(.spoofed) }
        }
        guard packet.targetAddress == options.network.gateway else { return .done }
        if packet.operation == .reply {
            // The library may have asked for it.
            toStack.append(
                ARPPacket(
                    operation: .reply, senderHardware: source, senderAddress: sender, targetHardware: options.hardware,
                    targetAddress: options.network.gateway
                ).frame(to: options.hardware))
            return .done
        }
        toGuests.append(
            ARPPacket(
                operation: .reply, senderHardware: options.hardware, senderAddress: options.network.gateway,
                targetHardware: source, targetAddress: sender
            ).frame(to: source))
        return .done
    }

    func isGuest(_ address: IPv4Address) -> Bool {
        let network = options.network
        return network.network.contains(address) && address != network.gateway && address != network.network.base
            && address != network.network.broadcast
    }

    private mutating func ipv4(
        _ frame: RawSpan, from hardware: MACAddress, isGroup: Bool, _ isComplete: Bool, now: UInt64
    ) -> Verdict {
        guard let packet = try? IPv4View(frame.from(14)) else { return .drop(.malformed) }
        guard packet.hasValidChecksum else { return .drop(.badChecksum) }
        let source = packet.source, destination = packet.destination
        // A guest without an address asks for one.
        if source == .any { return .done }
        guard isGuest(source), admits(hardware, as: source, now: now) else { return .drop(.spoofed) }
        guard !isGroup, !destination.isMulticastOrBroadcast, destination != options.network.network.broadcast else {
            return .done
        }
        guard packet.headerLength == IPv4Header.length else { return .drop(.unsupported) }
        guard packet.timeToLive > 0 else { return .drop(.malformed) }
        if packet.isFragment {
            switch reassembler.take(packet, by: owner(of: source), now: now) {
            case .incomplete: return .done
            case .refused: return .drop(.fragment)
            case .complete(let whole):
                let bytes = frame.extracting(0..<14).copied() + whole
                switch ipv4(bytes.rawSpan, from: hardware, isGroup: false, true, now: now) {
                case .pass: return .passInstead(bytes)
                case .tcp(let arrival): return .tcpInstead(arrival, bytes)
                case let verdict: return verdict
                }
            }
        }
        let isLocal = options.network.network.contains(destination), isGateway = destination == options.network.gateway
        if isLocal && !isGateway { return .drop(.refused) }
        let guest = IPv6Address(0, UInt64(source.value)), remote = IPv6Address(0, UInt64(destination.value))
        let payload = packet.payload
        func sum(_ bytes: RawSpan) -> Bool {
            if !isComplete { return true }
            var sum = InternetChecksum.pseudoHeader(
                source: source, destination: destination, protocolNumber: packet.protocolNumber, length: bytes.byteCount
            )
            sum.add(bytes)
            return sum.isValid
        }
        switch packet.protocolNumber {
        case IPProtocol.icmp:
            guard payload.byteCount >= 8 else { return .drop(.malformed) }
            var sum = InternetChecksum()
            sum.add(payload)
            guard sum.isValid else { return .drop(.badChecksum) }
            guard payload.big16(at: 0) == 0x0800 else { return .drop(.unsupported) }
            if isGateway { return .pass }
            guard options.policy.allows(destination, port: nil) else { return refuse(frame, now: now) }
            return lingering.admit(guest, port: payload.big16(at: 4), IPProtocol.icmp, by: owner(of: source), now: now)
                ? .pass : .drop(.flows)
        case IPProtocol.udp:
            guard let datagram = try? UDPView(payload), datagram.bytes.byteCount == payload.byteCount,
                datagram.sourcePort > 0, datagram.destinationPort > 0
            else { return .drop(.malformed) }
            guard payload.big16(at: 6) == 0 || sum(payload) else { return .drop(.badChecksum) }
            let port = datagram.destinationPort
            if isGateway && port == 67 { return .done }
            let key = FlowKey(IPProtocol.udp, guest: guest, datagram.sourcePort, remote: remote, port)
            if callers.find(key, now: now) != nil { return .pass }
            guard isGateway ? options.policy.opensHostLoopback : options.policy.allows(destination, port: port) else {
                return refuse(frame, now: now)
            }
            return lingering.admit(guest, port: datagram.sourcePort, IPProtocol.udp, by: owner(of: source), now: now)
                ? .pass : .drop(.flows)
        case IPProtocol.tcp:
            guard let segment = try? TCPView(payload), segment.sourcePort > 0, segment.destinationPort > 0 else {
                return .drop(.malformed)
            }
            guard sum(payload) else { return .drop(.badChecksum) }
            let port = segment.destinationPort
            let isNames = isGateway && port == 53 && options.answersNames
            let isAllowed =
                isNames
                || (isGateway ? options.policy.opensHostLoopback : options.policy.allows(destination, port: port))
            let start = 14 + IPv4Header.length
            return .tcp(
                TCPArrival(
                    key: FlowKey(IPProtocol.tcp, guest: guest, segment.sourcePort, remote: remote, port),
                    hardware: hardware, segment: start..<start + payload.byteCount, isAllowed: isAllowed))
        default:
            return .drop(.unsupported)
        }
    }

    // MARK: From the library

    /// Judges a frame of the library, and gives it the addresses it needs on the guests' link.
    package mutating func fromStack(_ frame: inout MutableRawSpan, now: UInt64) -> Verdict {
        // libslirp 4.7 neither cuts up what comes by IPv6 nor looks at how long it is.
        guard frame.byteCount >= 14, frame.byteCount <= 14 + options.mtu else { return .drop(.malformed) }
        switch frame.bytes.big16(at: 12) {
        case EtherType.arp:
            guard let packet = try? ARPPacket(parsing: frame.bytes.from(14)), packet.operation == .request else {
                return .done
            }
            guard let hardware = neighbors.hardware(of: packet.targetAddress) else {
                // It will hear of it when the guest has answered.
                ask(for: packet.targetAddress)
                return .done
            }
            toStack.append(
                ARPPacket(
                    operation: .reply, senderHardware: hardware, senderAddress: packet.targetAddress,
                    targetHardware: options.hardware, targetAddress: options.network.gateway
                ).frame(to: options.hardware))
            return .done
        case EtherType.ipv4:
            guard let hardware = ipv4FromStack(frame.bytes.from(14), now: now) else { return .drop(.malformed) }
            frame.put(options.hardware, hardware)
            return .pass
        case EtherType.ipv6:
            guard let hardware = ipv6FromStack(frame.bytes.from(14), now: now) else { return .done }
            frame.put(options.hardware, hardware)
            return .pass
        default:
            return .done
        }
    }

    /// Returns whose it is; nil for nobody's.
    private mutating func ipv4FromStack(_ bytes: RawSpan, now: UInt64) -> MACAddress? {
        guard let packet = try? IPv4View(bytes), let hardware = neighbors.hardware(of: packet.destination) else {
            return nil
        }
        guard !packet.isFragment else { return hardware }
        let guest = IPv6Address(0, UInt64(packet.destination.value)),
            remote = IPv6Address(0, UInt64(packet.source.value))
        observe(packet.protocolNumber, packet.payload, guest: guest, remote: remote, now: now)
        return hardware
    }

    /// Notes who comes by a published port of UDP, whom the guest may answer then.
    mutating func observe(
        _ protocolNumber: UInt8, _ payload: RawSpan, guest: IPv6Address, remote: IPv6Address, now: UInt64
    ) {
        guard protocolNumber == IPProtocol.udp, payload.byteCount >= 8 else { return }
        let key = FlowKey(protocolNumber, guest: guest, payload.big16(at: 2), remote: remote, payload.big16(at: 0))
        if callers.find(key, now: now) == nil,
            remote == gatewayKey || !lingering.contains(guest, port: key.guestPort, protocolNumber)
        {
            _ = callers.insert(key, by: owner(of: key), now: now)
        }
    }
}

extension MutableRawSpan {
    /// Writes the two hardware addresses of a frame that begins at `start`.
    @_lifetime(self: copy self)
    mutating func put(_ source: MACAddress, _ destination: MACAddress, at start: Int = 0) {
        put32(UInt32(truncatingIfNeeded: destination.value >> 16), at: start)
        put16(UInt16(truncatingIfNeeded: destination.value), at: start + 4)
        put32(UInt32(truncatingIfNeeded: source.value >> 16), at: start + 6)
        put16(UInt16(truncatingIfNeeded: source.value), at: start + 10)
    }
}
