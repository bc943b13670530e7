// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Wire

/// Datagrams of UDP and ICMP that wait to be sent by one socket, many in a system call.
@safe
package struct DatagramQueue: ~Copyable {
    /// Datagrams that fit.
    package static let capacity = Int(PLATFORM_DATAGRAM_BATCH)
    /// Bytes that fit: the longest datagrams, and many of the usual ones.
    private static let size = 256 << 10

    private let memory: UnsafeMutableRawPointer
    private let datagrams: UnsafeMutablePointer<platform_datagram>
    private var used = 0
    /// Datagrams in the queue.
    package private(set) var count = 0

    /// An empty queue.
    package init() {
        unsafe memory = .allocate(byteCount: DatagramQueue.size, alignment: 64)
        unsafe datagrams = .allocate(capacity: DatagramQueue.capacity)
        unsafe datagrams.initialize(repeating: platform_datagram(), count: DatagramQueue.capacity)
    }

    deinit {
        unsafe datagrams.deallocate()
        unsafe memory.deallocate()
    }

    /// Whether a datagram of `length` bytes fits. An empty queue has room for any.
    package func hasRoom(for length: Int) -> Bool {
        count < DatagramQueue.capacity && used + length <= DatagramQueue.size
    }

    /// Appends a datagram.
    /// - Parameters:
    ///   - peer: where it goes.
    ///   - local: the address of this host that it comes from; nil leaves the choice to the system.
    /// - Precondition: it has room.
    package mutating func append(_ payload: RawSpan, to peer: SocketAddress, from local: SocketAddress? = nil) {
        precondition(hasRoom(for: payload.byteCount))
        let start = unsafe memory + used
        if payload.byteCount > 0 {
            unsafe payload.withUnsafeBytes {
                unsafe start.copyMemory(from: $0.baseAddress!, byteCount: payload.byteCount)
            }
        }
        unsafe datagrams[count].bytes = start.assumingMemoryBound(to: UInt8.self)
        unsafe datagrams[count].length = payload.byteCount
        unsafe datagrams[count].peer = peer.raw
        unsafe datagrams[count].local = local?.raw ?? platform_inet_address()
        used += payload.byteCount
        count += 1
    }

    /// A datagram in the queue.
    @_lifetime(borrow self)
    package func payload(_ index: Int) -> RawSpan {
        precondition(index >= 0 && index < count)
        let span = unsafe RawSpan(_unsafeStart: datagrams[index].bytes, byteCount: datagrams[index].length)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Sends the datagrams from `index` on, without blocking and without removing them. Returns how many were taken, at
    /// least 1, or the negative errno of the first.
    /// - Parameter longestSegment: bytes of the longest datagram that the system may get joined to others
    ///   (`Descriptor.joinDatagrams`); lowered where it refuses that.
    package func send(by fd: Int32, from index: Int, longestSegment: inout UInt32) -> Int {
        precondition(index >= 0 && index < count)
        return Int(
            unsafe platform_datagrams_send(fd, datagrams + index, UInt32(count - index), &longestSegment))
    }

    /// Empties the queue.
    package mutating func removeAll() {
        used = 0
        count = 0
    }
}
