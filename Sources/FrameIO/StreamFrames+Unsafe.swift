// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform
import Wire

/// Frames on a stream socket, each behind its length as 32 bits, big endian: QEMU's `stream` and `socket`
/// (net/stream.c), socket_vmnet, passt.
///
/// What is received lies in one buffer, of which whole frames are handed out; what is left of the last one stays until
/// the rest has come. The buffer is allocated when the first bytes come, and touched as far as they reach.
@safe
@usableFromInline
package struct StreamFrames: ~Copyable {
    /// 64 KiB and the Ethernet header: what the programs at the other end take.
    package static let maximumFrameLength = 65_536 + 14
    /// Bytes of the length in front of a frame.
    package static let prefixLength = 4
    /// Room for a batch of full-size frames, or the longest frame and the start of another.
    private static let capacity = 128 * 1024

    private var memory: UnsafeMutableRawPointer?
    private var start = 0
    private var end = 0
    /// The length that no frame has, after which nothing that comes makes sense.
    package private(set) var badLength: UInt32?
    /// The other end has closed, or cannot be heard any more.
    package private(set) var isOver = false
    /// A whole frame is in the buffer, of which the descriptor does not tell.
    package private(set) var holdsFrame = false

    package init() {}

    deinit { unsafe memory?.deallocate() }

    /// Fills the empty `batch` with whole frames, from the buffer if there are any, else from the stream socket `fd`.
    package mutating func receive(from fd: Int32, into batch: inout FrameBatch) -> ReceiveOutcome {
        var outcome = ReceiveOutcome()
        guard !isOver else { return outcome }
        if !holdsFrame {
            fill(from: fd)
            if isOver { return outcome }
        }
        while batch.count < batch.capacity, let length = next() {
            batch.append(
                copying: unsafe RawSpan(
                    _unsafeStart: UnsafeRawPointer(memory! + start + StreamFrames.prefixLength), byteCount: length))
            start += StreamFrames.prefixLength + length
        }
        holdsFrame = next() != nil
        if badLength != nil { isOver = true }
        outcome.frames = batch.count
        return outcome
    }

    /// Receives once behind what is there already.
    private mutating func fill(from fd: Int32) {
        if unsafe memory == nil { unsafe memory = .allocate(byteCount: StreamFrames.capacity, alignment: 64) }
        if start > 0 {
            // Less than a frame, and moved once: it then lies at the start until it is whole.
            unsafe memory!.copyMemory(from: memory! + start, byteCount: end - start)
            (start, end) = (0, end - start)
        }
        let received = unsafe platform_receive(fd, memory! + end, StreamFrames.capacity - end)
        if received == 0 || (received < 0 && received != -Int(Errno.again) && received != -Int(Errno.interrupted)) {
            isOver = true
        }
        end += max(0, received)
    }

    /// The length of the whole frame that comes next; nil if it has not come, or has no length that a frame may have.
    private mutating func next() -> Int? {
        let available = end - start
        guard badLength == nil, available >= StreamFrames.prefixLength else { return nil }
        let length = unsafe UInt32(bigEndian: (memory! + start).loadUnaligned(as: UInt32.self))
        guard length >= 14, length <= StreamFrames.maximumFrameLength else {
            badLength = length
            return nil
        }
        return available >= StreamFrames.prefixLength + Int(length) ? Int(length) : nil
    }
}

/// What one send to a stream came to.
package struct StreamSending: BitwiseCopyable {
    /// Whole frames that were taken.
    package var frames = 0
    /// Bytes of the next one that were taken, its length included.
    package var part = 0
    /// A positive errno that stopped it, 0 if all went.
    package var error: Int32 = 0
}

/// Puts the lengths in front of what a `SendVector` holds.
@safe
package struct StreamVector: ~Copyable {
    /// Of each message: its length, and up to two pieces.
    private static let piecesPerMessage = 3

    private let prefixes: UnsafeMutablePointer<UInt32>
    private let pieces: UnsafeMutablePointer<iovec>

    package init() {
        unsafe prefixes = .allocate(capacity: SendVector.capacity)
        unsafe pieces = .allocate(capacity: SendVector.capacity * StreamVector.piecesPerMessage)
    }

    deinit {
        unsafe prefixes.deallocate()
        unsafe pieces.deallocate()
    }

    /// Sends the messages of `vector` from `first` on to the stream socket `fd`, each behind its length, many in a
    /// system call.
    /// - Parameter skipped: bytes of the first one, its length included, that were sent before.
    package func send(
        _ vector: borrowing SendVector, from first: Int, skipping skipped: Int, to fd: Int32
    ) -> StreamSending {
        var outcome = StreamSending(frames: 0, part: skipped)
        while first + outcome.frames < vector.count {
            let count = gather(vector, first + outcome.frames, skipping: outcome.part)
            let sent = unsafe platform_send_pieces(fd, pieces, Int32(count))
            if sent < 0 {
                if sent == -Int(Errno.interrupted) { continue }
                outcome.error = Int32(-sent)
                return outcome
            }
            advance(&outcome, by: sent, vector, first)
        }
        return outcome
    }

    private func advance(_ outcome: inout StreamSending, by sent: Int, _ vector: borrowing SendVector, _ first: Int) {
        outcome.part += sent
        while first + outcome.frames < vector.count {
            let whole = vector.length(of: first + outcome.frames) + StreamFrames.prefixLength
            if outcome.part < whole { return }
            outcome.part -= whole
            outcome.frames += 1
        }
    }

    /// Returns how many pieces there are.
    private func gather(_ vector: borrowing SendVector, _ first: Int, skipping skipped: Int) -> Int {
        var count = 0, rest = skipped
        func add(_ address: UnsafeMutableRawPointer, _ length: Int) {
            let skip = min(rest, length)
            rest -= skip
            guard skip < length else { return }
            unsafe (pieces + count).initialize(to: iovec(iov_base: address + skip, iov_len: length - skip))
            count += 1
        }
        for index in first..<vector.count {
            unsafe (prefixes + index).initialize(to: UInt32(vector.length(of: index)).bigEndian)
            unsafe add(UnsafeMutableRawPointer(prefixes + index), StreamFrames.prefixLength)
            for piece in 0..<vector.pieceCount(of: index) {
                let part = unsafe vector.piece(piece, of: index)
                unsafe add(part.iov_base, part.iov_len)
            }
        }
        return count
    }
}
