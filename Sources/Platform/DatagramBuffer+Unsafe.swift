// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Wire

/// Buffers into which datagrams of UDP and ICMP are received, many in a system call. Pages that no datagram has reached
/// take no memory.
@safe
package struct DatagramBuffer: ~Copyable {
    /// Datagrams in one call.
    package static let capacity = Int(PLATFORM_DATAGRAM_BATCH)
    /// Bytes of the longest datagram, and one more.
    private static let slot = 65_536

    private let memory: UnsafeMutableRawPointer
    private let datagrams: UnsafeMutablePointer<platform_datagram>

    /// - Throws: if the system has no memory.
    package init() throws(SystemError) {
        guard let memory = unsafe platform_pages_allocate(DatagramBuffer.capacity * DatagramBuffer.slot) else {
            throw SystemError(code: Errno.noMemory, "allocate buffers")
        }
        unsafe self.memory = unsafe memory
        unsafe datagrams = .allocate(capacity: DatagramBuffer.capacity)
        for index in 0..<DatagramBuffer.capacity {
            var datagram = unsafe platform_datagram()
            unsafe datagram.bytes = (memory + index * DatagramBuffer.slot).assumingMemoryBound(to: UInt8.self)
            unsafe (datagrams + index).initialize(to: datagram)
        }
    }

    deinit {
        unsafe datagrams.deallocate()
        unsafe platform_pages_free(memory, DatagramBuffer.capacity * DatagramBuffer.slot)
    }

    /// Receives datagrams without blocking. Returns how many, or a negative errno. Those that the system has joined
    /// count as one (`joinedCount`).
    package mutating func receive(from fd: Int32, atMost count: Int = DatagramBuffer.capacity) -> Int {
        precondition(count > 0 && count <= DatagramBuffer.capacity)
        return Int(unsafe platform_datagrams_receive(fd, datagrams, UInt32(count), DatagramBuffer.slot))
    }

    private func datagram(_ index: Int) -> platform_datagram {
        precondition(index >= 0 && index < DatagramBuffer.capacity)
        return unsafe datagrams[index]
    }

    /// A datagram of the last call, without the headers of IP and UDP.
    @_lifetime(borrow self)
    package func payload(_ index: Int) -> RawSpan {
        precondition(index >= 0 && index < DatagramBuffer.capacity)
        let span = unsafe RawSpan(
            _unsafeStart: datagrams[index].bytes, byteCount: min(datagrams[index].length, DatagramBuffer.slot))
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// How many datagrams of one flow the system has joined (`joinDatagrams`); 1 if it is one.
    package func joinedCount(_ index: Int) -> Int {
        let size = unsafe Int(datagram(index).segment), length = payload(index).byteCount
        return size > 0 && size < length ? (length + size - 1) / size : 1
    }

    /// One of the datagrams that the system has joined.
    /// - Parameter place: below `joinedCount`.
    @_lifetime(borrow self)
    package func payload(_ index: Int, _ place: Int) -> RawSpan {
        let whole = payload(index), count = joinedCount(index)
        precondition(place >= 0 && place < count)
        if count == 1 { return whole }
        let size = unsafe Int(datagram(index).segment)
        return whole.extracting(place * size..<min((place + 1) * size, whole.byteCount))
    }

    /// The same of a socket for pings: without the IP header that macOS leaves before it.
    @_lifetime(borrow self)
    package func echoMessage(_ index: Int) -> RawSpan {
        let whole = payload(index)
        let start = unsafe whole.withUnsafeBytes { unsafe platform_echo_offset($0.baseAddress, $0.count) }
        return whole.from(start)
    }

    /// Its sender.
    package func peer(_ index: Int) -> SocketAddress { unsafe SocketAddress(raw: datagram(index).peer) }

    /// The address of this host that it was sent to, if `reportDatagrams` has requested it; its port is 0.
    package func local(_ index: Int) -> SocketAddress? {
        let raw = unsafe datagram(index).local
        return raw.family == 0 ? nil : SocketAddress(raw: raw)
    }

    /// Its TTL or hop limit; 0 if unknown.
    package func hops(_ index: Int) -> UInt8 { unsafe datagram(index).hops }

    /// Its DSCP and ECN.
    package func trafficClass(_ index: Int) -> UInt8 { unsafe datagram(index).traffic_class }
}
