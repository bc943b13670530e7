// SPDX-License-Identifier: Apache-2.0
import Platform

/// A socket that sends datagrams of guests, and what it is set to.
class DatagramSocket {
    let socket: Descriptor
    private let isIPv6: Bool

    // nil before the first datagram.
    private var hops: UInt8?
    private var trafficClass: UInt8?
    private var mayFragment: Bool?
    /// Bytes of the longest datagram that the system gets joined to others; 0 if it refuses that.
    private var longestSegment: UInt32
    /// The last datagrams that the system may have got as one message: bytes of each, and of all.
    private var joined = (length: 0, total: 0)
    /// The system has joined datagrams in the last batch.
    private var receivesJoined = false

    init(_ socket: consuming Descriptor, isIPv6: Bool) {
        longestSegment = socket.joinDatagrams()
        self.socket = socket
        self.isIPv6 = isIPv6
    }

    /// Whether a datagram needs the socket to be set differently.
    final func differs(_ inbound: InboundDatagram) -> Bool {
        hops != inbound.outgoingHops || trafficClass != inbound.trafficClass || mayFragment != inbound.mayFragment
    }

    /// Sets the socket to send datagrams like this one.
    final func prepare(for inbound: InboundDatagram) {
        if hops != inbound.outgoingHops { socket.setHops(inbound.outgoingHops, ipv6: isIPv6) }
        if trafficClass != inbound.trafficClass { socket.setTrafficClass(inbound.trafficClass, ipv6: isIPv6) }
        if mayFragment != inbound.mayFragment { socket.setFragmentation(inbound.mayFragment, ipv6: isIPv6) }
        hops = inbound.outgoingHops
        trafficClass = inbound.trafficClass
        mayFragment = inbound.mayFragment
    }

    /// Below, each datagram is sent by itself, so that a router on the way reports the one that has ended there. These
    /// are the TTLs of traceroute.
    private static let fewestHopsJoined: UInt8 = 32

    /// Sends datagrams of a queue, those of one flow joined (UDP_SEGMENT), as `DatagramQueue.send` does.
    final func send(_ queue: borrowing DatagramQueue, from index: Int) -> Int {
        if let hops, hops >= DatagramSocket.fewestHopsJoined {
            let sent = queue.send(by: socket.raw, from: index, longestSegment: &longestSegment)
            if sent > 1 { noteJoined(queue, index..<index + sent) }
            return sent
        }
        var none: UInt32 = 0
        return queue.send(by: socket.raw, from: index, longestSegment: &none)
    }

    private func noteJoined(_ queue: borrowing DatagramQueue, _ range: Range<Int>) {
        var first = 0, total = 0
        for index in range {
            let length = queue.payload(index).byteCount
            if length > 0 && length <= first {
                total += length
                joined = (first, total)
                if length < first { first = 0 }
            } else {
                (first, total) = (length, length)
            }
        }
    }

    /// The first of the datagrams that an error quotes: a host on the same link may quote a whole message.
    final func firstDatagram(of quoted: [UInt8]) -> [UInt8] {
        guard quoted.count > joined.length, quoted.count <= joined.total else { return quoted }
        return Array(quoted.prefix(joined.length))
    }

    /// Messages of one batch while the system joins datagrams: each may have 64.
    private static let joinedBatch = 4

    /// Receives a batch into a buffer, as `DatagramBuffer.receive` does.
    final func receive(into buffer: inout DatagramBuffer) -> Int {
        let count = buffer.receive(
            from: socket.raw, atMost: receivesJoined ? DatagramSocket.joinedBatch : DatagramBuffer.capacity)
        receivesJoined = false
        for number in 0..<max(0, count) where buffer.joinedCount(number) > 1 { receivesJoined = true }
        return count
    }
}
