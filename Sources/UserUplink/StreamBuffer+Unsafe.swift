// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform
import Wire

/// How much memory all streams together may take, and do.
struct StreamMemory: Sendable {
    /// Bytes.
    let limit: Int
    private(set) var used = 0

    init(limit: Int) { self.limit = limit }

    fileprivate mutating func change(from old: Int, to new: Int) -> Bool {
        // The smallest buffers are always there, for as many streams as there may be.
        guard new <= StreamBuffer.smallest || used + new - old <= limit else { return false }
        used += new - old
        return true
    }

    fileprivate mutating func release(_ size: Int) { used -= size }
}

/// Bytes of a stream that wait to be sent on: a ring that grows as far as it must. It has no memory while it is empty
/// and `trim` was called.
@safe
struct StreamBuffer: ~Copyable {
    static let smallest = 16 << 10
    static let largest = 1 << 20

    private var memory: UnsafeMutableRawPointer?
    private(set) var capacity = 0
    private var start = 0
    /// Bytes in it, in order.
    private(set) var count = 0

    init() {}

    deinit { unsafe memory?.deallocate() }

    /// Makes room for bytes up to `length` in all, if it can. Returns for how many there is room.
    mutating func reserve(_ length: Int, _ budget: inout StreamMemory) -> Int {
        guard length > capacity, capacity < StreamBuffer.largest else { return capacity }
        var larger = max(StreamBuffer.smallest, capacity)
        while larger < min(length, StreamBuffer.largest) { larger *= 4 }
        larger = min(larger, StreamBuffer.largest)
        guard budget.change(from: capacity, to: larger) else { return capacity }
        let moved: UnsafeMutableRawPointer = .allocate(byteCount: larger, alignment: 64)
        if let memory = unsafe memory {
            // All that lies in it, what came early included.
            let first = capacity - start
            unsafe moved.copyMemory(from: memory + start, byteCount: first)
            unsafe (moved + first).copyMemory(from: memory, byteCount: start)
            unsafe memory.deallocate()
        }
        unsafe memory = moved
        capacity = larger
        start = 0
        return larger
    }

    /// Gives the memory of an empty buffer back.
    mutating func trim(_ budget: inout StreamMemory) {
        guard count == 0, let held = unsafe memory else { return }
        unsafe held.deallocate()
        unsafe memory = nil
        budget.release(capacity)
        capacity = 0
        start = 0
    }

    /// Empties it, and gives its memory back.
    mutating func clear(_ budget: inout StreamMemory) {
        count = 0
        trim(&budget)
    }

    /// Writes `bytes` at `offset` behind the first byte; what is written behind `count` is not counted before `extend`.
    /// There must be room.
    mutating func write(_ bytes: RawSpan, at offset: Int) {
        precondition(offset >= 0 && offset + bytes.byteCount <= capacity)
        guard let memory = unsafe memory, bytes.byteCount > 0 else { return }
        let place = (start + offset) & (capacity - 1), first = min(bytes.byteCount, capacity - place)
        unsafe bytes.withUnsafeBytes { source in
            unsafe (memory + place).copyMemory(from: source.baseAddress!, byteCount: first)
            if first < source.count {
                unsafe memory.copyMemory(from: source.baseAddress! + first, byteCount: source.count - first)
            }
        }
    }

    /// Counts `length` more bytes.
    mutating func extend(_ length: Int) {
        precondition(length >= 0 && count + length <= capacity)
        count += length
    }

    /// Copies `range` of what is counted to `place` of `destination`.
    @_lifetime(destination: copy destination)
    func copy(_ range: Range<Int>, to destination: inout MutableRawSpan, at place: Int) {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        guard let memory = unsafe memory, !range.isEmpty else { return }
        let position = (start + range.lowerBound) & (capacity - 1), first = min(range.count, capacity - position)
        destination.put(unsafe RawSpan(_unsafeStart: memory + position, byteCount: first), at: place)
        if first < range.count {
            destination.put(unsafe RawSpan(_unsafeStart: memory, byteCount: range.count - first), at: place + first)
        }
    }

    /// Forgets the first `length` bytes.
    mutating func discard(_ length: Int) {
        precondition(length >= 0 && length <= count)
        count -= length
        start = capacity == 0 ? 0 : (start + length) & (capacity - 1)
    }

    /// Sends what is counted to a socket, as much as it takes, and forgets that. Returns 0 or a positive errno.
    mutating func send(to socket: Int32) -> Int32 {
        while count > 0, let memory = unsafe memory {
            let first = min(count, capacity - start)
            var pieces = unsafe (
                iovec(iov_base: memory + start, iov_len: first), iovec(iov_base: memory, iov_len: count - first)
            )
            let sent = unsafe withUnsafePointer(to: &pieces) {
                unsafe $0.withMemoryRebound(to: iovec.self, capacity: 2) {
                    unsafe platform_send_pieces(socket, $0, first < count ? 2 : 1)
                }
            }
            if sent < 0 {
                if sent == -Int(Errno.interrupted) { continue }
                return Int32(-sent)
            }
            discard(sent)
        }
        return 0
    }

    /// Receives from a socket once, as much as there is room for. Returns how many bytes, 0 at the stream's end, or a
    /// negative errno.
    mutating func receive(from socket: Int32) -> Int {
        guard let memory = unsafe memory, count < capacity else { return -Int(Errno.noBuffers) }
        let place = (start + count) & (capacity - 1), room = capacity - count, first = min(room, capacity - place)
        var pieces = unsafe (
            iovec(iov_base: memory + place, iov_len: first), iovec(iov_base: memory, iov_len: room - first)
        )
        let received = unsafe withUnsafePointer(to: &pieces) {
            unsafe $0.withMemoryRebound(to: iovec.self, capacity: 2) {
                unsafe platform_receive_pieces(socket, $0, first < room ? 2 : 1)
            }
        }
        if received > 0 { count += received }
        return received
    }
}

extension RawSpan {
    /// Sends these bytes to a socket. Returns how many it took, or a negative errno.
    func send(to socket: Int32) -> Int {
        unsafe withUnsafeBytes { unsafe platform_send(socket, $0.baseAddress, $0.count) }
    }
}
