// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform

/// Frames that wait for a receiver: a ring of bytes of fixed size, allocated when it is first needed. When it is full,
/// new frames are refused (tail drop). Each frame lies in one piece after its length.
@safe
@usableFromInline
package struct TransmitQueue: ~Copyable {
    /// Bytes; room for about 340 full-size frames, or a burst of eight GSO frames.
    package static let defaultCapacity = 512 * 1024

    private static let prefix = 4
    /// In place of a length: the rest of the ring is unused, the next frame is at its start.
    private static let wrapMark = UInt32.max

    private let capacity: Int
    private var memory: UnsafeMutableRawPointer?
    private var head = 0
    private var tail = 0
    /// Frames waiting.
    @usableFromInline package private(set) var count = 0

    /// An empty queue of so many bytes, frames' prefixes included.
    package init(capacity: Int = defaultCapacity) { self.capacity = capacity & ~3 }

    deinit { unsafe memory?.deallocate() }

    /// Whether no frame waits.
    @inlinable
    package var isEmpty: Bool { count == 0 }

    /// Appends message `index` of `vector`. Returns false if there is no room.
    package mutating func append(_ index: Int, of vector: borrowing SendVector) -> Bool {
        let length = vector.length(of: index)
        guard let offset = reserve(length) else { return false }
        unsafe vector.copy(index, to: memory! + offset)
        return true
    }

    /// Reserves room for a frame and returns the offset of its bytes.
    private mutating func reserve(_ length: Int) -> Int? {
        let needed = TransmitQueue.prefix + (length + 3) & ~3
        if unsafe memory == nil { unsafe memory = .allocate(byteCount: capacity, alignment: 64) }
        if count == 0 { (head, tail) = (0, 0) }
        if tail >= head {
            // One word always stays free after the tail, so that head == tail means empty.
            if capacity - tail < needed + TransmitQueue.prefix {
                guard head > needed, count > 0 else { return nil }
                unsafe memory!.storeBytes(of: TransmitQueue.wrapMark, toByteOffset: tail, as: UInt32.self)
                tail = 0
            }
        } else if head - tail <= needed {
            return nil
        }
        unsafe memory!.storeBytes(of: UInt32(length), toByteOffset: tail, as: UInt32.self)
        let offset = tail + TransmitQueue.prefix
        tail += needed
        count += 1
        return offset
    }

    /// Puts as many of the first frames into the empty `vector` as fit. They stay in the queue until `removeFirst`.
    package mutating func peek(into vector: inout SendVector) {
        var position = head
        for _ in 0..<min(count, SendVector.capacity) {
            let length = frameLength(at: &position)
            unsafe vector.append(memory! + position + TransmitQueue.prefix, length: length)
            position += TransmitQueue.prefix + (length + 3) & ~3
        }
    }

    /// Removes the first `frames` frames.
    package mutating func removeFirst(_ frames: Int) {
        for _ in 0..<frames {
            var position = head
            let length = frameLength(at: &position)
            head = position + TransmitQueue.prefix + (length + 3) & ~3
        }
        count -= frames
    }

    private func frameLength(at position: inout Int) -> Int {
        var length = unsafe memory!.load(fromByteOffset: position, as: UInt32.self)
        if length == TransmitQueue.wrapMark {
            position = 0
            length = unsafe memory!.load(fromByteOffset: 0, as: UInt32.self)
        }
        return Int(length)
    }

    /// Drops all frames.
    package mutating func removeAll() { (head, tail, count) = (0, 0, 0) }
}
