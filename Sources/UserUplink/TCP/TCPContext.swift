// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Uplink
import Wire

/// What all connections share while they are served: the way to the guests, the memory budget, the time. The relay owns
/// it and lends it to one connection at a time.
struct TCPContext {
    /// Bytes of payload in the longest GSO frame.
    static var maximumPayload: Int { IPv4Header.maximumPacket - IPv6Header.length - TCPHeader.length }

    /// Segments in a GSO frame at most, so that a guest with a tiny MSS does not make one frame thousands.
    static let maximumSegments = 128

    /// Takes the frames for guests.
    let output: GuestOutput
    /// Bytes of the longest IP packet on the guests' link.
    let mtu: Int
    var memory: BufferBudget
    /// When this poll began.
    var now = Instant.distantPast
    /// Sockets that may still be read in this poll without a readiness event.
    var readBudget = 0
    /// Retransmissions so far, each of one range of a stream.
    var retransmissions = 0

    /// What guests may connect to, for `NameCheck`.
    var policy = EgressPolicy()
    /// Connections that the policy has refused, until the owner takes them.
    var refused: [EgressRefusal] = []

    /// Failures of the proxy, and how many there were of each, until the owner takes them.
    private(set) var proxyFailures: [ProxyFailure: Int] = [:]
    /// A proxy that sends anything has no more kinds.
    private static let maximumFailures = 16

    /// The last client of a published port that has not reached its guest, and how many there were, until the owner
    /// takes them.
    private(set) var unreached: UnreachedGuest?
    private(set) var unreachedCount = 0

    /// Notes that a client of a published port has not reached its guest.
    mutating func note(unreached guest: UnreachedGuest) {
        unreached = guest
        unreachedCount += 1
    }

    /// Takes the last client that has not reached its guest, and how many there were.
    mutating func takeUnreached() -> (last: UnreachedGuest, count: Int)? {
        guard let last = unreached else { return nil }
        defer { (unreached, unreachedCount) = (nil, 0) }
        return (last, unreachedCount)
    }

    /// Notes that the proxy has not connected a guest.
    mutating func proxyFailed(_ failure: ProxyFailure) {
        guard proxyFailures.count < TCPContext.maximumFailures || proxyFailures[failure] != nil else { return }
        proxyFailures[failure, default: 0] += 1
    }

    /// Takes the failures of the proxy, the most frequent first.
    mutating func takeProxyFailures() -> [(failure: ProxyFailure, count: Int)] {
        defer { if !proxyFailures.isEmpty { proxyFailures = [:] } }
        return proxyFailures.map { (failure: $0.key, count: $0.value) }.sorted { $0.count > $1.count }
    }

    /// Appends a segment to the guests' output. Returns false if the guest's hardware address is not known.
    @discardableResult
    func send(
        _ header: TCPSegmentHeader, _ endpoints: TCPEndpoints,
        payload: (inout MutableRawSpan, Int) -> Void = { _, _ in }
    ) -> Bool {
        header.append(to: output, endpoints, payload: payload)
    }

    /// Answers a segment that belongs to no connection with a reset (RFC 9293 section 3.10.7.1).
    func sendReset(inReplyTo segment: borrowing TCPView, _ endpoints: TCPEndpoints) {
        let flags = segment.flags
        if flags.contains(.rst) { return }
        var header: TCPSegmentHeader
        if flags.contains(.ack) {
            header = TCPSegmentHeader(.rst, sequence: segment.acknowledgment)
        } else {
            header = TCPSegmentHeader([.rst, .ack], sequence: 0)
            let length =
                segment.payload.byteCount + (flags.contains(.syn) ? 1 : 0) + (flags.contains(.fin) ? 1 : 0)
            header.acknowledgment = segment.sequence &+ UInt32(truncatingIfNeeded: length)
        }
        send(header, endpoints)
    }
}
