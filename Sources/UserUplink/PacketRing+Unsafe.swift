// SPDX-License-Identifier: Apache-2.0
import Atomics
import CPlatform
import Platform

/// A bounded queue of frames of any length between two sides, one of which only appends and the other only removes;
/// each is one thread at a time. Frames lie one behind the other; one that does not fit before the end of the memory
/// begins at its start again.
@safe
package final class PacketRing: @unchecked Sendable {
    /// In front of each frame: its length, or a note that the next one is at the start.
    private static let header = 8
    private static let wrap = UInt32.max

    private let memory: UnsafeMutableRawPointer
    private let capacity: Int
    // Bytes since the beginning, written by one side each. They only grow; the place is the count modulo the capacity.
    private let written = ManagedAtomic<Int>(0)
    private let taken = ManagedAtomic<Int>(0)
    /// What the appending side has seen of `taken`, and the removing side of `written`: looked at again only when that
    /// is not enough.
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

    /// A ring that is empty begins at its start again from here on: what is used over and over stays in the processor's
    /// cache.
    private var warmth: Int { capacity / 16 }

    // MARK: The appending side

    /// Appends a copy of a frame. Returns false if there is no room.
    package func append(_ frame: RawSpan) -> Bool {
        unsafe frame.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return true }
            return unsafe append(base, bytes.count)
        }
    }

    /// Appends a copy of `length` bytes. Returns false if there is no room.
    @unsafe
    package func append(_ base: UnsafeRawPointer, _ length: Int) -> Bool {
        guard let (target, end) = unsafe place(length) else { return false }
        unsafe target.copyMemory(from: base, byteCount: length)
        written.store(end, ordering: .releasing)
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
        guard let (target, end) = unsafe place(length) else { return false }
        var offset = 0
        for index in 0..<pieces.count {
            let piece = unsafe pieces[index]
            unsafe (target + offset).copyMemory(from: piece.iov_base, byteCount: piece.iov_len)
            unsafe offset += piece.iov_len
        }
        written.store(end, ordering: .releasing)
        return true
    }

    /// Where a frame of `length` bytes is to be written, and what `written` is afterwards; nil if there is no room.
    private func place(_ length: Int) -> (target: UnsafeMutableRawPointer, end: Int)? {
        let needed = PacketRing.room(for: length)
        var position = written.load(ordering: .relaxed)
        let place = position & (capacity - 1)
        // The rest behind it is skipped where the frame would not fit there in one piece.
        var skipped = capacity - place < needed ? capacity - place : 0
        if place >= warmth && needed <= warmth && skipped == 0 {
            knownTaken = taken.load(ordering: .acquiring)
            if knownTaken == position { skipped = capacity - place }
        }
        guard hasRoom(skipped + needed, from: position) else { return nil }
        if skipped > 0 {
            unsafe (memory + place).storeBytes(of: PacketRing.wrap, as: UInt32.self)
            position += skipped
        }
        let target = unsafe memory + (position & (capacity - 1))
        unsafe target.storeBytes(of: UInt32(length), as: UInt32.self)
        return unsafe (target + PacketRing.header, position + needed)
    }

    private func hasRoom(_ bytes: Int, from position: Int) -> Bool {
        if capacity - (position - knownTaken) >= bytes { return true }
        knownTaken = taken.load(ordering: .acquiring)
        return capacity - (position - knownTaken) >= bytes
    }

    // MARK: Either side, or neither

    package var hasFrames: Bool { written.load(ordering: .acquiring) != taken.load(ordering: .acquiring) }

    // MARK: The removing side

    private var isEmpty: Bool {
        let position = taken.load(ordering: .relaxed)
        if position != knownWritten { return false }
        knownWritten = written.load(ordering: .acquiring)
        return position == knownWritten
    }

    /// Hands the first frame to `body`, which may change it in place, and removes it. Returns nil if there is none.
    package func takeFirst<Result>(_ body: (inout MutableRawSpan) -> Result) -> Result? {
        guard let (address, length, end) = unsafe first() else { return nil }
        var span = unsafe MutableRawSpan(_unsafeStart: address, byteCount: length)
        let result = body(&span)
        taken.store(end, ordering: .releasing)
        return result
    }

    private func first() -> (address: UnsafeMutableRawPointer, length: Int, end: Int)? {
        if isEmpty { return nil }
        var position = taken.load(ordering: .relaxed)
        var source = unsafe memory + (position & (capacity - 1))
        if unsafe source.load(as: UInt32.self) == PacketRing.wrap {
            position += capacity - (position & (capacity - 1))
            unsafe source = memory
        }
        let length = Int(unsafe source.load(as: UInt32.self))
        return unsafe (source + PacketRing.header, length, position + PacketRing.room(for: length))
    }
}
