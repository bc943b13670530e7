// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Reassembles IPv4 packets (RFC 791 section 3.2), so that policy and libslirp see whole packets only.
///
/// Bounded in memory and time. A packet whose fragments overlap or contradict each other is dropped as a whole (RFC
/// 5722 requires that for IPv6), and so is one that stays incomplete.
package struct Reassembler: Sendable {
    private struct Key: Hashable, Sendable {
        let source: IPv4Address
        let destination: IPv4Address
        let identification: UInt16
        let protocolNumber: UInt8
    }

    fileprivate struct Partial: Sendable {
        /// The packet so far; its header is the first fragment's.
        var bytes: [UInt8]
        /// The ranges of the payload that have arrived, in ascending order; ranges that touch are merged.
        var pieces: [Range<Int>] = []
        var end: Int?
        var hasHeader = false
        let expires: Instant
        let owner: GuestOwner
    }

    /// What a fragment led to.
    package enum Outcome: Equatable, Sendable {
        /// The fragment is kept until the others arrive.
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
        let owner = owner ?? GuestOwner(packet.source)
        let key = Key(
            source: packet.source, destination: packet.destination, identification: packet.identification,
            protocolNumber: packet.protocolNumber)
        let offset = packet.fragmentOffset, count = packet.payload.byteCount
        let isLast = !packet.moreFragments
        guard !packet.hasOptions, count > 0, isLast || count % IPv4Header.Fragment.unit == 0,
            IPv4Header.length + offset + count <= IPv4Header.maximumPacket
        else {
            remove(key)
            return .refused
        }
        if partials[key] == nil {
            for (old, partial) in partials where partial.expires <= now { remove(old) }
            guard share.hasRoom(for: owner), partials.keys.count(where: { $0.source == key.source }) < Self.perSource
            else { return .refused }
            partials[key] = Partial(
                bytes: [UInt8](repeating: 0, count: IPv4Header.length), expires: now + Self.timeout, owner: owner)
            share.add(owner)
        }
        // Taken out of the table while it changes, so that the bytes are not copied.
        var partial = partials.removeValue(forKey: key)!
        guard partial.expires > now, partial.add(packet, offset..<offset + count, isLast) else {
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

    private mutating func remove(_ key: Key) {
        if let partial = partials.removeValue(forKey: key) { share.remove(partial.owner) }
    }
}

extension Reassembler.Partial {
    /// Adds a fragment. Returns false if it overlaps another, or lies behind the end of the packet.
    fileprivate mutating func add(_ packet: borrowing IPv4View, _ piece: Range<Int>, _ isLast: Bool) -> Bool {
        if isLast {
            guard end == nil, (pieces.last?.upperBound ?? 0) <= piece.upperBound else { return false }
            end = piece.upperBound
        } else if let end, piece.upperBound >= end {
            return false
        }
        guard !pieces.contains(where: { $0.overlaps(piece) }) else { return false }
        guard pieces.count < Reassembler.maximumFragments else { return false }
        let missing = IPv4Header.length + piece.upperBound - bytes.count
        if missing > 0 { bytes += [UInt8](repeating: 0, count: missing) }
        bytes.withMutableRawSpan { span in
            span.put(packet.payload, at: IPv4Header.length + piece.lowerBound)
            if piece.lowerBound == 0 { span.put(packet.bytes.extracting(0..<IPv4Header.length), at: 0) }
        }
        if piece.lowerBound == 0 { hasHeader = true }
        let index = pieces.firstIndex { $0.lowerBound > piece.lowerBound } ?? pieces.count
        pieces.insert(piece, at: index)
        if index + 1 < pieces.count, pieces[index].upperBound == pieces[index + 1].lowerBound {
            pieces[index] = pieces[index].lowerBound..<pieces.remove(at: index + 1).upperBound
        }
        if index > 0, pieces[index - 1].upperBound == pieces[index].lowerBound {
            pieces[index - 1] = pieces[index - 1].lowerBound..<pieces.remove(at: index).upperBound
        }
        return true
    }

    /// The whole packet; nil while fragments are missing.
    fileprivate mutating func finished() -> [UInt8]? {
        guard let end, hasHeader, pieces == [0..<end] else { return nil }
        bytes.withMutableRawSpan { span in
            var packet = MutableIPv4View(&span)
            packet.set(totalLength: IPv4Header.length + end)
            packet.set(fragmentOffset: 0, moreFragments: false)
            packet.updateChecksum(headerLength: IPv4Header.length)
        }
        return bytes
    }
}
