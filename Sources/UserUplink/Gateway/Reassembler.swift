// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Reassembles packets of IPv4 (RFC 791 section 3.2) and IPv6 (RFC 8200 section 4.5), so that everything after it sees
/// whole packets only.
///
/// Bounded in memory and time. A packet whose fragments overlap or contradict each other is dropped as a whole (RFC
/// 5722 requires that for IPv6), and so is one that stays incomplete. A fragment that arrives twice is ignored. If
/// there is no room for a new packet, the sender's oldest incomplete one makes room: a guest that loses fragments loses
/// no later packet by it.
package struct Reassembler: Sendable {
    private struct Key: Hashable, Sendable {
        let source: IPv6Address
        let destination: IPv6Address
        let identification: UInt32
        /// `IPv6Extension.fragment` for IPv6, whose fragments are not distinguished by protocol.
        let protocolNumber: UInt8
    }

    /// A fragment: its header as the whole packet has it, and its place in the payload.
    fileprivate struct Piece: ~Escapable {
        let header: RawSpan
        let payload: RawSpan
        let offset: Int
        let isLast: Bool

        @_lifetime(copy header, copy payload)
        init(header: RawSpan, payload: RawSpan, offset: Int, isLast: Bool) {
            self.header = header
            self.payload = payload
            self.offset = offset
            self.isLast = isLast
        }

        var range: Range<Int> { offset..<offset + payload.byteCount }
    }

    fileprivate struct Partial: Sendable {
        /// The packet so far; its header is the first fragment's.
        var bytes: [UInt8]
        let headerLength: Int
        /// The ranges of the payload that have arrived, in ascending order; ranges that touch are merged.
        var pieces: [Range<Int>] = []
        var end: Int?
        var hasHeader = false
        /// Of IPv6: the protocol of the payload, which the first fragment has.
        var protocolNumber: UInt8 = 0
        let expires: Instant
        let owner: GuestOwner
    }

    /// What a fragment led to.
    package enum Outcome: Equatable, Sendable {
        /// The fragment is kept until the others arrive, or was here before.
        case incomplete
        /// The whole packet, with a header to match.
        case complete([UInt8])
        /// The fragment, and the packet that it belongs to, are dropped.
        case refused
    }

    /// Incomplete packets, in all and from one source address.
    private static let capacity = 32
    private static let perSource = 8
    /// Fragments of a packet. An honest sender makes them as long as the link's MTU; many small ones are an attack.
    fileprivate static let maximumFragments = 128
    /// RFC 791 section 3.2 suggests 15 s.
    private static let timeout = TimeAmount.seconds(15)

    private var partials: [Key: Partial] = [:]
    private var share = FairShare(capacity: Reassembler.capacity)

    package init() {}

    /// Takes a fragment whose header is valid and has no options.
    /// - Parameter owner: the guest to charge; nil charges the source address.
    package mutating func take(_ packet: borrowing IPv4View, by owner: GuestOwner? = nil, now: Instant) -> Outcome {
        let key = Key(
            source: IPv6Address(embedding: packet.source), destination: IPv6Address(embedding: packet.destination),
            identification: UInt32(packet.identification), protocolNumber: packet.protocolNumber)
        guard !packet.hasOptions else {
            remove(key)
            return .refused
        }
        let piece = Piece(
            header: packet.bytes.extracting(0..<IPv4Header.length), payload: packet.payload,
            offset: packet.fragmentOffset, isLast: !packet.moreFragments)
        return take(piece, key, limit: IPv4Header.maximumPacket - IPv4Header.length, owner, now)
    }

    /// Takes a packet whose first extension header is a fragment header. The payload may begin with more of them.
    /// - Parameter owner: the guest to charge; nil charges the source address.
    package mutating func take(_ packet: borrowing IPv6View, by owner: GuestOwner? = nil, now: Instant) -> Outcome {
        let payload = packet.payload
        guard payload.byteCount > IPv6Extension.unit else { return .refused }
        let key = Key(
            source: packet.source, destination: packet.destination,
            identification: payload.big32(at: IPv6Extension.Field.identification),
            protocolNumber: IPv6Extension.fragment)
        let field = payload.big16(at: IPv6Extension.Field.fragment)
        let piece = Piece(
            header: packet.bytes.extracting(0..<IPv6Header.length), payload: payload.from(IPv6Extension.unit),
            offset: Int(field & IPv6Extension.fragmentOffsetMask), isLast: field & IPv6Extension.moreFragments == 0)
        let protocolNumber = payload.byte(at: IPv6Extension.Field.nextHeader)
        if piece.offset == 0 && piece.isLast {
            // A packet in one fragment has no others (RFC 6946).
            var whole = Partial(piece, expires: now, owner: .unknown)
            whole.protocolNumber = protocolNumber
            return whole.add(piece) ? whole.finished().map { .complete($0) } ?? .refused : .refused
        }
        return take(piece, key, limit: IPv6Header.maximumPayload, protocolNumber: protocolNumber, owner, now)
    }

    /// - Parameter limit: bytes of the longest payload.
    private mutating func take(
        _ piece: borrowing Piece, _ key: Key, limit: Int, protocolNumber: UInt8 = 0, _ owner: GuestOwner?,
        _ now: Instant
    ) -> Outcome {
        let count = piece.payload.byteCount
        guard count > 0, piece.isLast || count % IPv4Header.Fragment.unit == 0, piece.range.upperBound <= limit else {
            remove(key)
            return .refused
        }
        // Taken out of the table while it changes, so that the bytes are not copied.
        var partial: Partial
        let known = partials.removeValue(forKey: key)
        if let known, known.expires > now {
            partial = known
        } else {
            if let known { share.remove(known.owner) }
            let owner = owner ?? .address(key.source)
            for (old, partial) in partials where partial.expires <= now { remove(old) }
            makeRoom(for: owner, at: key.source)
            partial = Partial(piece, expires: now + Self.timeout, owner: owner)
            share.add(owner)
        }
        if piece.offset == 0 { partial.protocolNumber = protocolNumber }
        guard partial.add(piece) else {
            share.remove(partial.owner)
            return .refused
        }
        guard let whole = partial.finished() else {
            partials[key] = partial
            return .incomplete
        }
        share.remove(partial.owner)
        return .complete(whole)
    }

    /// Drops the oldest incomplete packets of a guest, or of the guest that has the most, until one more fits.
    private mutating func makeRoom(for owner: GuestOwner, at source: IPv6Address) {
        if partials.keys.count(where: { $0.source == source }) >= Self.perSource {
            removeOldest { key, _ in key.source == source }
        }
        while !share.hasRoom(for: owner), !partials.isEmpty {
            let largest = share.count(of: owner) > 0 ? owner : share.largest
            guard removeOldest(where: { $1.owner == largest }) else { return }
        }
    }

    /// Returns false if there is no candidate.
    @discardableResult
    private mutating func removeOldest(where isCandidate: (Key, Partial) -> Bool) -> Bool {
        let oldest = partials.filter { isCandidate($0.key, $0.value) }.min { $0.value.expires < $1.value.expires }
        if let oldest { remove(oldest.key) }
        return oldest != nil
    }

    private mutating func remove(_ key: Key) {
        if let partial = partials.removeValue(forKey: key) { share.remove(partial.owner) }
    }
}

extension Reassembler.Partial {
    fileprivate init(_ first: borrowing Reassembler.Piece, expires: Instant, owner: GuestOwner) {
        headerLength = first.header.byteCount
        bytes = [UInt8](repeating: 0, count: headerLength)
        self.expires = expires
        self.owner = owner
    }

    /// Adds a fragment. Returns false if it overlaps another, or lies after the end of the packet.
    fileprivate mutating func add(_ piece: borrowing Reassembler.Piece) -> Bool {
        let range = piece.range
        if isKnown(piece) { return true }
        if piece.isLast {
            guard end == nil, (pieces.last?.upperBound ?? 0) <= range.upperBound else { return false }
            end = range.upperBound
        } else if let end, range.upperBound >= end {
            return false
        }
        guard !pieces.contains(where: { $0.overlaps(range) }) else { return false }
        guard pieces.count < Reassembler.maximumFragments else { return false }
        let missing = headerLength + range.upperBound - bytes.count
        if missing > 0 { bytes += [UInt8](repeating: 0, count: missing) }
        bytes.withMutableRawSpan { span in
            span.put(piece.payload, at: headerLength + range.lowerBound)
            if range.lowerBound == 0 { span.put(piece.header, at: 0) }
        }
        if range.lowerBound == 0 { hasHeader = true }
        let index = pieces.firstIndex { $0.lowerBound > range.lowerBound } ?? pieces.count
        pieces.insert(range, at: index)
        if index + 1 < pieces.count, pieces[index].upperBound == pieces[index + 1].lowerBound {
            pieces[index] = pieces[index].lowerBound..<pieces.remove(at: index + 1).upperBound
        }
        if index > 0, pieces[index - 1].upperBound == pieces[index].lowerBound {
            pieces[index - 1] = pieces[index - 1].lowerBound..<pieces.remove(at: index).upperBound
        }
        return true
    }

    /// Whether all of a fragment has arrived before, with the same bytes.
    private func isKnown(_ piece: borrowing Reassembler.Piece) -> Bool {
        let range = piece.range
        guard pieces.contains(where: { $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound }),
            piece.isLast == (end == range.upperBound)
        else { return false }
        let known = bytes.rawSpan, start = headerLength + range.lowerBound
        for index in 0..<range.count where known.byte(at: start + index) != piece.payload.byte(at: index) {
            return false
        }
        return true
    }

    /// The whole packet; nil while fragments are missing.
    fileprivate mutating func finished() -> [UInt8]? {
        guard let end, hasHeader, pieces == [0..<end] else { return nil }
        let headerLength = headerLength, protocolNumber = protocolNumber
        bytes.withMutableRawSpan { span in
            if headerLength == IPv6Header.length {
                var packet = MutableIPv6View(&span)
                packet.set(payloadLength: end)
                packet.set(nextHeader: protocolNumber)
            } else {
                var packet = MutableIPv4View(&span)
                packet.set(totalLength: headerLength + end)
                packet.set(fragmentOffset: 0, moreFragments: false)
                packet.updateChecksum(headerLength: headerLength)
            }
        }
        return bytes
    }
}
