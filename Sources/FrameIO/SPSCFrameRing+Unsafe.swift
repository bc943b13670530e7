// SPDX-License-Identifier: Apache-2.0
import Atomics
import CPlatform
import Platform

/// A bounded single-producer, single-consumer queue of frames of any length, each with a tag for the consumer. Each
/// side is one thread at a time. Frames lie one after the other; a frame that does not fit before the end of the
/// memory lies at its start.
@safe
package final class SPSCFrameRing: @unchecked Sendable {
    /// In front of each frame: its length, or a mark that the next one is at the start; and its tag.
    private static let header = 8
    private static let wrap = UInt32.max

    private let memory: UnsafeMutableRawPointer
    private let capacity: Int
    // Bytes since the beginning, written by one side each. They only grow; the offset is the count modulo the capacity.
    private let written = ManagedAtomic<Int>(0)
    private let taken = ManagedAtomic<Int>(0)
    // Frames since the beginning, likewise.
    private let framesWritten = ManagedAtomic<Int>(0)
    private let framesTaken = ManagedAtomic<Int>(0)
    /// The count from which the producer has gone on at the start of the memory because the ring was empty. There is no
    /// mark in the memory, so that the new frames may have all of it before the consumer follows.
    private let restart = ManagedAtomic<Int>(-1)
    /// The producer's last load of `taken`, or what it will be once the consumer has followed a restart; and the
    /// consumer's last load of `written`. They are loaded again only if that is not enough.
    private var knownTaken = 0
    private var knownWritten = 0

    /// - Parameter capacity: bytes; a power of two.
    package init(capacity: Int) {
        precondition(capacity >= 1024 && capacity & (capacity - 1) == 0)
        self.capacity = capacity
        unsafe memory = .allocate(byteCount: capacity, alignment: 64)
    }

    deinit { unsafe memory.deallocate() }

    private static func room(for length: Int) -> Int { (header + length + 7) & ~7 }

    /// Bytes that an empty ring uses again and again, instead of all its memory, so that they stay in the cache.
    private var cachedBytes: Int { capacity / 16 }

    // MARK: The producer

    /// Appends a copy of a frame. Returns false if there is no room.
    package func append(_ frame: RawSpan, tag: UInt32 = 0) -> Bool {
        unsafe frame.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return true }
            return unsafe append(base, bytes.count, tag: tag)
        }
    }

    /// Appends a copy of `length` bytes. Returns false if there is no room.
    @unsafe
    package func append(_ base: UnsafeRawPointer, _ length: Int, tag: UInt32 = 0) -> Bool {
        guard let (target, end) = unsafe reserve(length, tag) else { return false }
        unsafe target.copyMemory(from: base, byteCount: length)
        finishWriting(until: end)
        return true
    }

    /// Appends frames, each in the first of `stride` pieces, as far as there is room (`FrameDevice.send`).
    /// - Returns: how many, or -ENOBUFS for none.
    @unsafe
    package func append(_ frames: UnsafePointer<iovec>, stride: Int, count: Int) -> Int32 {
        var appended = 0
        while appended < count, unsafe append(frames[appended * stride].iov_base, frames[appended * stride].iov_len) {
            appended += 1
        }
        return appended == 0 ? -Errno.noBuffers : Int32(appended)
    }

    /// Appends a frame of `length` bytes that lies in several pieces.
    @unsafe
    package func append(_ pieces: UnsafeBufferPointer<iovec>, length: Int) -> Bool {
        guard let (target, end) = unsafe reserve(length, 0) else { return false }
        var offset = 0
        for index in 0..<pieces.count {
            let piece = unsafe pieces[index]
            unsafe (target + offset).copyMemory(from: piece.iov_base, byteCount: piece.iov_len)
            unsafe offset += piece.iov_len
        }
        finishWriting(until: end)
        return true
    }

    /// The address for a frame of `length` bytes, and what `written` is afterwards; nil if there is no room.
    private func reserve(_ length: Int, _ tag: UInt32) -> (target: UnsafeMutableRawPointer, end: Int)? {
        let needed = SPSCFrameRing.room(for: length)
        var position = written.load(ordering: .relaxed)
        let offset = position & (capacity - 1)
        // The rest of the memory is skipped if the frame does not fit there in one piece.
        var skipped = capacity - offset < needed ? capacity - offset : 0
        if offset >= cachedBytes && needed <= cachedBytes && taken.load(ordering: .acquiring) == position {
            // Seen by the consumer with the new `written`.
            restart.store(position, ordering: .relaxed)
            position += capacity - offset
            knownTaken = position
            skipped = 0
        }
        guard hasRoom(skipped + needed, from: position) else { return nil }
        if skipped > 0 {
            unsafe (memory + offset).storeBytes(of: SPSCFrameRing.wrap, as: UInt32.self)
            position += skipped
        }
        let target = unsafe memory + (position & (capacity - 1))
        unsafe target.storeBytes(of: UInt32(length), as: UInt32.self)
        unsafe target.storeBytes(of: tag, toByteOffset: 4, as: UInt32.self)
        return unsafe (target + SPSCFrameRing.header, position + needed)
    }

    private func finishWriting(until end: Int) {
        framesWritten.store(framesWritten.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
        written.store(end, ordering: .releasing)
    }

    private func hasRoom(_ bytes: Int, from position: Int) -> Bool {
        if capacity - (position - knownTaken) >= bytes { return true }
        knownTaken = max(knownTaken, taken.load(ordering: .acquiring))
        return capacity - (position - knownTaken) >= bytes
    }

    // MARK: Any thread

    /// Whether frames are queued.
    package var hasFrames: Bool { written.load(ordering: .acquiring) != taken.load(ordering: .acquiring) }

    /// How many frames are queued, while neither side is at work; else about as many.
    package var count: Int {
        max(0, framesWritten.load(ordering: .relaxed) &- framesTaken.load(ordering: .relaxed))
    }

    // MARK: The consumer

    private var isEmpty: Bool {
        let position = taken.load(ordering: .relaxed)
        if position != knownWritten { return false }
        knownWritten = written.load(ordering: .acquiring)
        return position == knownWritten
    }

    /// Calls `body` with the first frame, which it may change in place, and removes the frame. Returns nil if there is
    /// none.
    package func removeFirst<Result>(_ body: (inout MutableRawSpan) -> Result) -> Result? {
        removeFirst { frame, _ in body(&frame) }
    }

    /// The same with the frame's tag.
    package func removeFirst<Result>(_ body: (inout MutableRawSpan, UInt32) -> Result) -> Result? {
        guard let (address, length, end) = unsafe first() else { return nil }
        var span = unsafe MutableRawSpan(_unsafeStart: address, byteCount: length)
        let tag = unsafe (address - SPSCFrameRing.header).load(fromByteOffset: 4, as: UInt32.self)
        let result = body(&span, tag)
        framesTaken.store(framesTaken.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
        taken.store(end, ordering: .releasing)
        return result
    }

    private func first() -> (address: UnsafeMutableRawPointer, length: Int, end: Int)? {
        if isEmpty { return nil }
        var position = taken.load(ordering: .relaxed)
        if position == restart.load(ordering: .relaxed) { position += capacity - (position & (capacity - 1)) }
        var source = unsafe memory + (position & (capacity - 1))
        if unsafe source.load(as: UInt32.self) == SPSCFrameRing.wrap {
            position += capacity - (position & (capacity - 1))
            unsafe source = memory
        }
        let length = Int(unsafe source.load(as: UInt32.self))
        return unsafe (source + SPSCFrameRing.header, length, position + SPSCFrameRing.room(for: length))
    }
}
