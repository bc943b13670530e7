// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform
import Wire

/// Bytes of one direction of a stream: a ring buffer that grows on demand, by factors of 4 up to 1 MiB, within a budget
/// that all buffers share. It has no memory before the first `reserve` and after `trim`.
///
/// Buffers of 64 KiB and more are whole mappings, which go back to the system at once. The C library would keep
/// them.
@safe
struct StreamBuffer: ~Copyable {
    static let minimumCapacity = 16 << 10
    static let maximumCapacity = 1 << 20

    private var memory: UnsafeMutableRawPointer?
    private(set) var capacity = 0
    /// Offset of the first byte in `memory`.
    private var start = 0
    /// Bytes in order. What was received out of order lies after them.
    private(set) var count = 0

    init() {}

    deinit { if let memory = unsafe memory { unsafe StreamBuffer.free(memory, capacity) } }

    private static let pageThreshold = 64 << 10

    /// Returns memory for a buffer; nil if the system has none.
    private static func allocate(_ size: Int) -> UnsafeMutableRawPointer? {
        size >= pageThreshold ? unsafe platform_pages_allocate(size) : .allocate(byteCount: size, alignment: 64)
    }

    private static func free(_ memory: UnsafeMutableRawPointer, _ size: Int) {
        if size >= pageThreshold { unsafe platform_pages_free(memory, size) } else { unsafe memory.deallocate() }
    }

    /// The smallest capacity for `length` bytes.
    static func capacity(for length: Int) -> Int {
        var capacity = minimumCapacity
        while capacity < min(length, maximumCapacity) { capacity *= 4 }
        return capacity
    }

    /// Makes room for `length` bytes in all, as far as the budget allows. Returns the capacity afterwards.
    /// - Parameter owner: the guest to charge; nil if a window that covers this was charged.
    mutating func reserve(_ length: Int, _ budget: inout BufferBudget, by owner: GuestOwner? = .unknown) -> Int {
        guard length > capacity, capacity < StreamBuffer.maximumCapacity else { return capacity }
        let larger = StreamBuffer.capacity(for: length)
        if let owner { guard budget.grow(from: capacity, to: larger, by: owner) else { return capacity } }
        guard let moved = unsafe StreamBuffer.allocate(larger) else {
            if let owner { budget.shrink(from: larger, to: capacity, by: owner) }
            return capacity
        }
        budget.take(larger - capacity)
        if let memory = unsafe memory {
            // The whole ring, so that bytes after `count` move as well.
            let first = capacity - start
            unsafe moved.copyMemory(from: memory + start, byteCount: first)
            unsafe (moved + first).copyMemory(from: memory, byteCount: start)
            unsafe StreamBuffer.free(memory, capacity)
        }
        unsafe memory = moved
        capacity = larger
        start = 0
        return larger
    }

    /// Frees the memory if the buffer is empty.
    /// - Parameter owner: as in `reserve`.
    mutating func trim(_ budget: inout BufferBudget, by owner: GuestOwner? = .unknown) {
        guard count == 0, let block = unsafe memory else { return }
        unsafe StreamBuffer.free(block, capacity)
        unsafe memory = nil
        budget.release(capacity)
        if let owner { budget.shrink(from: capacity, to: 0, by: owner) }
        capacity = 0
        start = 0
    }

    /// Empties the buffer and frees its memory.
    /// - Parameter owner: as in `reserve`.
    mutating func clear(_ budget: inout BufferBudget, by owner: GuestOwner? = .unknown) {
        count = 0
        trim(&budget, by: owner)
    }

    /// Writes `bytes` at `offset` from the first byte. Bytes after `count` become part of the stream by `extend`.
    /// - Precondition: `capacity` is large enough.
    mutating func write(_ bytes: RawSpan, at offset: Int) {
        precondition(offset >= 0 && offset + bytes.byteCount <= capacity)
        guard let memory = unsafe memory, bytes.byteCount > 0 else { return }
        let position = (start + offset) & (capacity - 1), first = min(bytes.byteCount, capacity - position)
        unsafe bytes.withUnsafeBytes { source in
            unsafe (memory + position).copyMemory(from: source.baseAddress!, byteCount: first)
            if first < source.count {
                unsafe memory.copyMemory(from: source.baseAddress! + first, byteCount: source.count - first)
            }
        }
    }

    /// Appends `length` bytes that were written already.
    mutating func extend(_ length: Int) {
        precondition(length >= 0 && count + length <= capacity)
        count += length
    }

    /// Copies a range of the stream to an offset of `destination`.
    @_lifetime(destination: copy destination)
    func copy(_ range: Range<Int>, to destination: inout MutableRawSpan, at offset: Int) {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        guard let memory = unsafe memory, !range.isEmpty else { return }
        let position = (start + range.lowerBound) & (capacity - 1), first = min(range.count, capacity - position)
        destination.put(unsafe RawSpan(_unsafeStart: memory + position, byteCount: first), at: offset)
        if first < range.count {
            destination.put(unsafe RawSpan(_unsafeStart: memory, byteCount: range.count - first), at: offset + first)
        }
    }

    /// Removes the first `length` bytes.
    mutating func discard(_ length: Int) {
        precondition(length >= 0 && length <= count)
        count -= length
        start = capacity == 0 ? 0 : (start + length) & (capacity - 1)
    }

    /// Sends the first `limit` bytes of the stream to a socket, as much as that takes, and removes what was sent.
    /// Returns 0 or a positive errno.
    mutating func send(to socket: Int32, atMost limit: Int = .max) -> Int32 {
        let end = max(0, count - limit)
        while count > end, let memory = unsafe memory {
            let sending = count - end, first = min(sending, capacity - start)
            var pieces = unsafe (
                iovec(iov_base: memory + start, iov_len: first), iovec(iov_base: memory, iov_len: sending - first)
            )
            let sent = unsafe withUnsafePointer(to: &pieces) {
                unsafe $0.withMemoryRebound(to: iovec.self, capacity: 2) {
                    unsafe platform_send_pieces(socket, $0, first < sending ? 2 : 1)
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

    /// Receives from a socket once, as much as there is room for. Returns the number of bytes, 0 at the end of the
    /// stream, or a negative errno.
    mutating func receive(from socket: Int32) -> Int {
        guard let memory = unsafe memory, count < capacity else { return -Int(Errno.noBuffers) }
        let position = (start + count) & (capacity - 1), room = capacity - count
        let first = min(room, capacity - position)
        var pieces = unsafe (
            iovec(iov_base: memory + position, iov_len: first), iovec(iov_base: memory, iov_len: room - first)
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
    /// Sends these bytes to a socket. Returns the number of bytes that it took, or a negative errno.
    func send(to socket: Int32) -> Int {
        unsafe withUnsafeBytes { unsafe platform_send(socket, $0.baseAddress, $0.count) }
    }
}
