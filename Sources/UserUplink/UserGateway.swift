// SPDX-License-Identifier: Apache-2.0
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

/// The gateway of a network that a user-mode NAT leads out, between the guests and the library: it answers ARP and neighbour discovery for
/// itself and towards the library for the guests, checks everything that the library is to see, who speaks for which address, and where
/// guests may go. A state machine: frames in, frames out; time in seconds.
package struct UserGateway: Sendable {
    package struct Options: Sendable {
        package var network: GuestNetwork
        /// The gateway's own.
        package var hardware: MACAddress
        /// The upper half of the guests' IPv6 addresses; nil for none.
        package var prefix: UInt64?
        package var mtu = 1500
        package var policy = EgressPolicy()
        /// Names are asked for at the gateway's port 53: by UDP here, by TCP at this port of the host's loopback address; nil for no names.
        package var namePort: UInt16?
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
        /// A question to the name server.
        case names
        /// It was for nobody else.
        case done
        case drop(UserDrop)
    }

    package let options: Options
    /// The gateway's addresses for IPv6: on the link, and with the prefix.
    let linkLocal = IPv6Address(0xfe80 << 48, 1)
    let gateway6: IPv6Address?
    var neighbors = NeighborTable<IPv4Address>()
    var neighbors6 = NeighborTable<IPv6Address>()
    var flows: FlowTable
    var lingering: LingeringPorts
    private var reassembler = Reassembler()
    /// Closed on both sides, with the time at which they are forgotten.
    private var closing: [(key: FlowKey, due: UInt64)] = []
    /// The port to which the frame being judged is to go instead.
    private var newPort: UInt16?
    var refusalBudget = 0
    var refusalSecond: UInt64 = 0
    /// Frames of our own that are to be sent to the guests, and to be handed to the library.
    package var toGuests: [[UInt8]] = []
    package var toStack: [[UInt8]] = []

    package init(_ options: Options) {
        self.options = options
        gateway6 = options.prefix.map { IPv6Address($0, 1) }
        flows = FlowTable(capacity: max(16, options.flowLimit * 3 / 4))
        lingering = LingeringPorts(capacity: max(16, options.flowLimit / 4))
    }

    /// A lease of ours: `address` belongs to this client until then (seconds).
    package mutating func lease(_ address: IPv4Address, to hardware: MACAddress, until end: UInt64, now: UInt64) {
        neighbors.lease(address, to: hardware, until: end, now: now)
    }

    private var gatewayKey: IPv6Address { IPv6Address(0, UInt64(options.network.gateway.value)) }

    /// Conversations at the moment.
    package var flowCount: Int { flows.count + lingering.count }

    // MARK: From guests

    /// Judges a guest's frame, and changes what has to be different for the library.
    package mutating func fromGuest(_ frame: inout MutableRawSpan, now: UInt64) -> Verdict {
        guard frame.byteCount >= 14 else { return .drop(.malformed) }
        let destination = MACAddress(frame.bytes.big64(at: 0) >> 16), source = MACAddress(frame.bytes.big64(at: 6) >> 16)
        guard destination == options.hardware || destination.isGroup else { return .done }
        switch frame.bytes.big16(at: 12) {
        case EtherType.arp: return arp(frame.bytes.from(14), from: source, now: now)
        case EtherType.ipv4:
            newPort = nil
            let verdict = ipv4(frame.bytes, from: source, isGroup: destination.isGroup, now: now)
            if let newPort { frame.replacePort(at: 14 + IPv4Header.length + 2, with: newPort, checksumAt: 14 + IPv4Header.length + 16) }
            return verdict
        case EtherType.ipv6: return ipv6(frame.bytes, from: source, isGroup: destination.isGroup, now: now)
        default: return .done
        }
    }

    private mutating func arp(_ bytes: RawSpan, from source: MACAddress, now: UInt64) -> Verdict {
        guard let packet = try? ARPPacket(parsing: bytes) else { return .drop(.malformed) }
        let sender = packet.senderAddress
        guard packet.senderHardware == source else { return .drop(.spoofed) }
        if sender != .any {
            guard isGuest(sender), neighbors.admits(source, as: sender, now: now) else { return .drop(.spoofed) }
        }
        guard packet.targetAddress == options.network.gateway else { return .done }
        if packet.operation == .reply {
            // The library may have asked for it.
            toStack.append(ARPPacket(operation: .reply, senderHardware: source, senderAddress: sender, targetHardware: options.hardware, targetAddress: options.network.gateway).frame(to: options.hardware))
            return .done
        }
        toGuests.append(ARPPacket(operation: .reply, senderHardware: options.hardware, senderAddress: options.network.gateway, targetHardware: source, targetAddress: sender).frame(to: source))
        return .done
    }

    private func isGuest(_ address: IPv4Address) -> Bool {
        let network = options.network
        return network.network.contains(address) && address != network.gateway && address != network.network.base && address != network.network.broadcast
    }

    private mutating func ipv4(_ frame: RawSpan, from hardware: MACAddress, isGroup: Bool, now: UInt64) -> Verdict {
        guard let packet = try? IPv4View(frame.from(14)) else { return .drop(.malformed) }
        guard packet.hasValidChecksum else { return .drop(.badChecksum) }
        let source = packet.source, destination = packet.destination
        // A guest without an address asks for one.
        if source == .any { return .done }
        guard isGuest(source), neighbors.admits(hardware, as: source, now: now) else { return .drop(.spoofed) }
        guard !isGroup, !destination.isMulticastOrBroadcast, destination != options.network.network.broadcast else { return .done }
        guard packet.headerLength == IPv4Header.length else { return .drop(.unsupported) }
        guard packet.timeToLive > 0 else { return .drop(.malformed) }
        if packet.isFragment {
            switch reassembler.take(packet, now: now) {
            case .incomplete: return .done
            case .refused: return .drop(.fragment)
            case .complete(let whole):
                let bytes = frame.extracting(0..<14).copied() + whole
                let verdict = ipv4(bytes.rawSpan, from: hardware, isGroup: false, now: now)
                // Nobody's questions to the name server are so long.
                if newPort != nil || verdict == .names {
                    newPort = nil
                    return .drop(.unsupported)
                }
                return verdict == .pass ? .passInstead(bytes) : verdict
            }
        }
        let isLocal = options.network.network.contains(destination), isGateway = destination == options.network.gateway
        if isLocal && !isGateway { return .drop(.refused) }
        let guest = IPv6Address(0, UInt64(source.value)), remote = IPv6Address(0, UInt64(destination.value))
        let payload = packet.payload
        func sum(_ bytes: RawSpan) -> Bool {
            var sum = InternetChecksum.pseudoHeader(source: source, destination: destination, protocolNumber: packet.protocolNumber, length: bytes.byteCount)
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
            return lingering.admit(guest, port: payload.big16(at: 4), IPProtocol.icmp, now: now) ? .pass : .drop(.flows)
        case IPProtocol.udp:
            guard let datagram = try? UDPView(payload), datagram.bytes.byteCount == payload.byteCount, datagram.sourcePort > 0, datagram.destinationPort > 0 else { return .drop(.malformed) }
            guard payload.big16(at: 6) == 0 || sum(payload) else { return .drop(.badChecksum) }
            let port = datagram.destinationPort
            if isGateway && port == 67 { return .done }
            if isGateway && port == 53 && options.namePort != nil { return .names }
            let key = FlowKey(IPProtocol.udp, guest: guest, datagram.sourcePort, remote: remote, port)
            if flows.find(key, now: now) != nil { return .pass }
            guard isGateway ? options.policy.opensHostLoopback : options.policy.allows(destination, port: port) else { return refuse(frame, now: now) }
            return lingering.admit(guest, port: datagram.sourcePort, IPProtocol.udp, now: now) ? .pass : .drop(.flows)
        case IPProtocol.tcp:
            guard let segment = try? TCPView(payload), segment.sourcePort > 0, segment.destinationPort > 0 else { return .drop(.malformed) }
            guard sum(payload) else { return .drop(.badChecksum) }
            let summary = Segment(segment)
            var port = segment.destinationPort
            var allowed = isGateway ? options.policy.opensHostLoopback : options.policy.allows(destination, port: port)
            if isGateway, port == 53, let own = options.namePort {
                // Names by TCP: to our server on the loopback address.
                newPort = own
                port = own
                allowed = true
            }
            return tcp(FlowKey(IPProtocol.tcp, guest: guest, segment: summary, remote: remote, port), summary, hardware, allowed: allowed, now: now) ?? refuse(frame, now: now)
        default:
            return .drop(.unsupported)
        }
    }

    /// What matters of a segment.
    struct Segment {
        let sourcePort: UInt16
        let flags: TCPFlags
        /// The sequence number behind it.
        let next: UInt32

        init(_ view: borrowing TCPView) {
            sourcePort = view.sourcePort
            flags = view.flags
            next = view.sequence &+ UInt32(view.payload.byteCount) &+ (flags.contains(.syn) ? 1 : 0) &+ (flags.contains(.fin) ? 1 : 0)
        }
    }

    /// Judges a guest's segment; nil where the policy refuses it.
    mutating func tcp(_ key: FlowKey, _ segment: Segment, _ hardware: MACAddress, allowed: Bool, now: UInt64) -> Verdict? {
        if let place = flows.find(key, now: now) {
            if segment.flags.contains(.rst) {
                if !flows[place].isConnecting { flows.remove(key) }
            } else {
                if Int32(bitPattern: segment.next &- flows[place].guestNext) > 0 || segment.flags.contains(.syn) { flows[place].guestNext = segment.next }
                if segment.flags.contains(.fin) && !flows[place].guestClosed {
                    flows[place].guestClosed = true
                    if flows[place].remoteClosed { closing.append((key, now + 10)) }
                }
            }
            return .pass
        }
        guard allowed else { return nil }
        // What belongs to no conversation is answered by the library.
        if segment.flags.intersection([.syn, .ack, .rst]) == .syn, !add(key, hardware, guestNext: segment.next, isConnecting: true, now: now) { return .drop(.flows) }
        return .pass
    }

    /// Notes a new conversation; an old one may have to end for it. Returns false if there is no room for it.
    @discardableResult
    private mutating func add(_ key: FlowKey, _ hardware: MACAddress, guestNext: UInt32 = 0, remoteNext: UInt32 = 0, isConnecting: Bool = false, now: UInt64) -> Bool {
        guard let (place, evicted) = flows.insert(key, hardware: hardware, isConnecting: isConnecting, now: now) else { return false }
        flows[place].guestNext = guestNext
        flows[place].remoteNext = remoteNext
        if let evicted { end(evicted) }
        return true
    }

    /// Seconds pass.
    package mutating func tick(now: UInt64) {
        guard let first = closing.first, first.due <= now else { return }
        let over = closing.prefix { $0.due <= now }
        for (key, _) in over { if let place = flows.find(key, now: now), flows[place].guestClosed, flows[place].remoteClosed { flows.remove(key) } }
        closing.removeFirst(over.count)
    }

    // MARK: From the library

    /// Judges a frame of the library, and gives it the addresses it needs on the guests' link.
    package mutating func fromStack(_ frame: inout MutableRawSpan, now: UInt64) -> Verdict {
        guard frame.byteCount >= 14 else { return .drop(.malformed) }
        switch frame.bytes.big16(at: 12) {
        case EtherType.arp:
            guard let packet = try? ARPPacket(parsing: frame.bytes.from(14)), packet.operation == .request else { return .done }
            guard let hardware = neighbors.hardware(of: packet.targetAddress) else {
                // It will hear of it when the guest has answered.
                let question = ARPPacket(operation: .request, senderHardware: options.hardware, senderAddress: options.network.gateway, targetHardware: .zero, targetAddress: packet.targetAddress)
                if isGuest(packet.targetAddress) { toGuests.append(question.frame(to: .broadcast)) }
                return .done
            }
            toStack.append(ARPPacket(operation: .reply, senderHardware: hardware, senderAddress: packet.targetAddress, targetHardware: options.hardware, targetAddress: options.network.gateway).frame(to: options.hardware))
            return .done
        case EtherType.ipv4:
            newPort = nil
            guard let hardware = ipv4FromStack(frame.bytes.from(14), now: now) else { return .drop(.malformed) }
            if let newPort { frame.replacePort(at: 14 + IPv4Header.length, with: newPort, checksumAt: 14 + IPv4Header.length + 16) }
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
        guard let packet = try? IPv4View(bytes), let hardware = neighbors.hardware(of: packet.destination) else { return nil }
        guard !packet.isFragment else { return hardware }
        let guest = IPv6Address(0, UInt64(packet.destination.value)), remote = IPv6Address(0, UInt64(packet.source.value))
        observe(packet.protocolNumber, packet.payload, guest: guest, remote: remote, hardware, now: now)
        if packet.source == options.network.gateway, packet.protocolNumber == IPProtocol.tcp, packet.headerLength == IPv4Header.length, packet.payload.byteCount >= 20,
            let own = options.namePort, packet.payload.big16(at: 0) == own
        {
            newPort = 53
        }
        return hardware
    }

    /// Follows conversations, and notes those that begin outside, at published ports.
    mutating func observe(_ protocolNumber: UInt8, _ payload: RawSpan, guest: IPv6Address, remote: IPv6Address, _ hardware: MACAddress, now: UInt64) {
        guard payload.byteCount >= 8 else { return }
        let key = FlowKey(protocolNumber, guest: guest, payload.big16(at: 2), remote: remote, payload.big16(at: 0))
        let place = flows.find(key, now: now)
        if protocolNumber == IPProtocol.udp {
            // An answer, or somebody who comes by a published port, whom the guest may answer then.
            if place == nil, remote == gatewayKey || !lingering.contains(guest, port: key.guestPort, protocolNumber) { add(key, hardware, now: now) }
            return
        }
        guard protocolNumber == IPProtocol.tcp, let segment = try? TCPView(payload) else { return }
        let summary = Segment(segment)
        guard let place else {
            if summary.flags.intersection([.syn, .ack, .rst]) == .syn { add(key, hardware, remoteNext: summary.next, now: now) }
            return
        }
        if summary.flags.contains(.rst) {
            flows.remove(key)
            return
        }
        flows.settle(place)
        if Int32(bitPattern: summary.next &- flows[place].remoteNext) > 0 || summary.flags.contains(.syn) { flows[place].remoteNext = summary.next }
        if summary.flags.contains(.fin) && !flows[place].remoteClosed {
            flows[place].remoteClosed = true
            if flows[place].guestClosed { closing.append((key, now + 10)) }
        }
    }
}

extension FlowKey {
    fileprivate init(_ protocolNumber: UInt8, guest: IPv6Address, segment: UserGateway.Segment, remote: IPv6Address, _ port: UInt16) {
        self.init(protocolNumber, guest: guest, segment.sourcePort, remote: remote, port)
    }
}

extension MutableRawSpan {
    /// Writes the two hardware addresses.
    @_lifetime(self: copy self)
    mutating func put(_ source: MACAddress, _ destination: MACAddress) {
        put32(UInt32(truncatingIfNeeded: destination.value >> 16), at: 0)
        put16(UInt16(truncatingIfNeeded: destination.value), at: 4)
        put32(UInt32(truncatingIfNeeded: source.value >> 16), at: 6)
        put16(UInt16(truncatingIfNeeded: source.value), at: 10)
    }

    /// Writes another port, and keeps the checksum right (RFC 1624 equation 3).
    @_lifetime(self: copy self)
    mutating func replacePort(at offset: Int, with port: UInt16, checksumAt place: Int) {
        let old = bytes.big16(at: offset), sum = bytes.big16(at: place)
        var total = UInt32(~sum) + UInt32(~old) + UInt32(port)
        total = (total >> 16) + (total & 0xffff)
        total = (total >> 16) + (total & 0xffff)
        put16(port, at: offset)
        put16(~UInt16(truncatingIfNeeded: total), at: place)
    }
}
