// SPDX-License-Identifier: Apache-2.0
import CLibrary

/// Pieces of a guest's memory that belong together, up to a fixed number.
@safe
struct PieceList: ~Copyable {
    static let capacity = 1024

    private let pieces: UnsafeMutablePointer<iovec>
    private var count = 0
    /// Where `write` and `read` go on.
    private var piece = 0
    private var offset = 0

    init() { unsafe pieces = .allocate(capacity: PieceList.capacity) }

    deinit { unsafe pieces.deallocate() }

    mutating func removeAll() { (count, piece, offset) = (0, 0, 0) }

    /// Returns false if there is no room.
    mutating func append(_ start: UnsafeMutableRawPointer, _ length: Int) -> Bool {
        guard count < PieceList.capacity else { return false }
        unsafe (pieces + count).initialize(to: iovec(iov_base: start, iov_len: length))
        count += 1
        return true
    }

    /// Copies `length` bytes after those that were written before. What does not fit is left out.
    mutating func write(_ source: UnsafeRawPointer, _ length: Int) {
        unsafe move(length) { unsafe $0.copyMemory(from: source + $1, byteCount: $2) }
    }

    /// Marks the pages of the first `length` bytes as written.
    func mark(_ length: Int, in memory: GuestMemoryView) {
        var rest = length
        for index in 0..<count where rest > 0 {
            let part = unsafe min(rest, pieces[index].iov_len)
            unsafe memory.mark(pieces[index].iov_base, part)
            rest -= part
        }
    }

    /// Copies the next `length` bytes, as far as there are any.
    mutating func read(into destination: UnsafeMutableRawPointer, _ length: Int) {
        unsafe move(length) { unsafe (destination + $1).copyMemory(from: $0, byteCount: $2) }
    }

    @inline(__always)
    private mutating func move(_ length: Int, _ body: (UnsafeMutableRawPointer, Int, Int) -> Void) {
        var done = 0
        while done < length && piece < count {
            let current = unsafe pieces[piece]
            let part = unsafe min(length - done, current.iov_len - offset)
            if part > 0 { unsafe body(current.iov_base + offset, done, part) }
            done += part
            offset += part
            if unsafe offset == current.iov_len { (piece, offset) = (piece + 1, 0) }
        }
    }
}
