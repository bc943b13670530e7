// SPDX-License-Identifier: Apache-2.0
import Wire

/// Puts fragments of IPv4 packets together (RFC 791 section 3.2), so that the library behind sees whole packets only.
/// Bounded in memory and time; what overlaps, contradicts itself or is never finished is dropped as a whole (RFC 5722
/// says so for IPv6).
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
        /// What has come of the payload, in order, without holes between neighbours that touch.
        var pieces: [Range<Int>] = []
        var end: Int?
        var hasHeader = false
        /// Seconds.
        var due: UInt64
        let owner: GuestOwner
    }

    package enum Outcome: Equatable, Sendable {
        case incomplete
        /// The whole packet, with a header that says so.
        case complete([UInt8])
        /// Nothing will come of it.
        case refused
    }

    /// Packets under way, in all and from one source.
    private static let capacity = 32
    private static let perSource = 8
    /// Seconds (RFC 791 suggests 15 at least).
    private static let patience: UInt64 = 15

    private var partials: [Key: Partial] = [:]
    private var share = FairShare(capacity: Reassembler.capacity)

    package init() {}

    /// Takes a fragment whose header is sound and has no options.
    /// - Parameter owner: the guest that it is charged to; nil: the guest that has the source address.
    package mutating func take(_ packet: borrowing IPv4View, by owner: GuestOwner? = nil, now: UInt64) -> Outcome {
        let owner = owner ?? GuestOwner(packet.source)
        let key = Key(
            source: packet.source, destination: packet.destination, identification: packet.identification,
            protocolNumber: packet.protocolNumber)
        let flags = packet.bytes.big16(at: 6)
        let offset = Int(flags & 0x1fff) * 8, count = packet.payload.byteCount
        let isLast = flags & 0x2000 == 0
        guard packet.headerLength == 20, count > 0, isLast || count % 8 == 0, 20 + offset + count <= 65_535 else {
            forget(key)
            return .refused
        }
        if partials[key] == nil {
            for (old, partial) in partials where partial.due <= now { forget(old) }
            guard share.hasRoom(for: owner), partials.keys.count(where: { $0.source == key.source }) < Self.perSource
            else { return .refused }
            partials[key] = Partial(bytes: [UInt8](repeating: 0, count: 20), due: now + Self.patience, owner: owner)
            share.add(owner)
        }
        // Out of the table while it is changed, so that it is not copied.
        var partial = partials.removeValue(forKey: key)!
        guard partial.due > now, partial.add(packet, offset..<offset + count, isLast) else {
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

    private mutating func forget(_ key: Key) {
        if let partial = partials.removeValue(forKey: key) { share.remove(partial.owner) }
    }
}

extension Reassembler.Partial {
    /// Returns false if the piece overlaps another, or lies behind the end.
    fileprivate mutating func add(_ packet: borrowing IPv4View, _ piece: Range<Int>, _ isLast: Bool) -> Bool {
        if isLast {
            guard end == nil, (pieces.last?.upperBound ?? 0) <= piece.upperBound else { return false }
            end = piece.upperBound
        } else if let end, piece.upperBound >= end {
            return false
        }
        guard !pieces.contains(where: { $0.overlaps(piece) }) else { return false }
        // Many small pieces are an attack: an honest sender cuts at the link's MTU.
        guard pieces.count < 128 else { return false }
        if bytes.count < 20 + piece.upperBound {
            bytes += [UInt8](repeating: 0, count: 20 + piece.upperBound - bytes.count)
        }
        bytes.withMutableRawSpan { span in
            span.put(packet.payload, at: 20 + piece.lowerBound)
            if piece.lowerBound == 0 { span.put(packet.bytes.extracting(0..<20), at: 0) }
        }
        if piece.lowerBound == 0 { hasHeader = true }
        let place = pieces.firstIndex { $0.lowerBound > piece.lowerBound } ?? pieces.count
        pieces.insert(piece, at: place)
        if place + 1 < pieces.count, pieces[place].upperBound == pieces[place + 1].lowerBound {
            pieces[place] = pieces[place].lowerBound..<pieces.remove(at: place + 1).upperBound
        }
        if place > 0, pieces[place - 1].upperBound == pieces[place].lowerBound {
            pieces[place - 1] = pieces[place - 1].lowerBound..<pieces.remove(at: place).upperBound
        }
        return true
    }

    fileprivate mutating func finished() -> [UInt8]? {
        guard let end, hasHeader, pieces == [0..<end] else { return nil }
        bytes.withMutableRawSpan { span in
            span.put16(UInt16(20 + end), at: 2)
            span.put16(0, at: 6)
            span.put16(0, at: 10)
            var sum = InternetChecksum()
            sum.add(span.bytes.extracting(0..<20))
            span.put16(sum.finished, at: 10)
        }
        return bytes
    }
}
