// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Datagrams of clients for guests whose hardware address is not known yet (RFC 1122 section 2.3.2.2).
struct WaitingDatagrams: Sendable {
    struct Entry: Sendable {
        let key: FlowKey
        let payload: [UInt8]
        let hops: UInt8
        let trafficClass: UInt8
        let expires: Instant
    }

    /// Datagrams and their bytes; the oldest make room.
    private static let capacity = 64
    private static let size = 256 << 10
    /// How long a guest has to answer, and the time between two requests.
    private static let arrivalTimeout = TimeAmount.milliseconds(2800)
    private static let interval = TimeAmount.milliseconds(700)

    private var entries: [Entry] = []
    private var bytes = 0
    /// When to request the hardware addresses again; `distantFuture` if nothing waits.
    private(set) var nextRequest = Instant.distantFuture

    var isEmpty: Bool { entries.isEmpty }

    /// Keeps a datagram.
    /// - Returns: whether it is the first for its guest, whose address is to be requested now.
    mutating func append(
        _ payload: RawSpan, _ key: FlowKey, hops: UInt8, trafficClass: UInt8, now: Instant
    ) -> Bool {
        while let first = entries.first,
            entries.count >= WaitingDatagrams.capacity || bytes + payload.byteCount > WaitingDatagrams.size
        {
            bytes -= first.payload.count
            entries.removeFirst()
        }
        let isFirst = !entries.contains { $0.key.guest == key.guest }
        entries.append(
            Entry(
                key: key, payload: payload.copied(), hops: hops, trafficClass: trafficClass,
                expires: now + WaitingDatagrams.arrivalTimeout))
        bytes += payload.byteCount
        if nextRequest == .distantFuture { nextRequest = now + WaitingDatagrams.interval }
        return isFirst
    }

    /// Removes and returns the datagrams whose guest is known now, and those whose guest has not answered in time. The
    /// guests to request are those of the rest, if it is time.
    mutating func take(
        now: Instant, where isKnown: (FlowKey) -> Bool
    ) -> (ready: [Entry], expired: [Entry], requests: [IPAddress]) {
        let ready = entries.filter { isKnown($0.key) }
        let others = entries.filter { !isKnown($0.key) }
        let expired = others.filter { $0.expires <= now }
        entries = others.filter { $0.expires > now }
        bytes = entries.reduce(0) { $0 + $1.payload.count }
        var requests: [IPAddress] = []
        if entries.isEmpty {
            nextRequest = .distantFuture
        } else if nextRequest <= now {
            nextRequest = now + WaitingDatagrams.interval
            for entry in entries where !requests.contains(entry.key.guestAddress) {
                requests.append(entry.key.guestAddress)
            }
        }
        return (ready, expired, requests)
    }
}
