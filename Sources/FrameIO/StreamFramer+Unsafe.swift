// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// The result of a send to a stream.
package struct StreamSendOutcome: BitwiseCopyable {
    /// Whole frames that were sent.
    package var frames = 0
    /// Bytes of the next one that were sent, its length included.
    package var part = 0
    /// A positive errno that stopped it, 0 if all went.
    package var error: Int32 = 0
}

/// Sends the messages of a `SendVector` to a stream, each after its length.
@safe
package struct StreamFramer: ~Copyable {
    /// On average at most: its length, and as many pieces as a `SendVector` has room for.
    private static let piecesPerMessage = 3

    private let prefixes: UnsafeMutablePointer<UInt32>
    private let pieces: UnsafeMutablePointer<iovec>

    /// Memory for the messages of one `SendVector`.
    package init() {
        unsafe prefixes = .allocate(capacity: SendVector.capacity)
        unsafe pieces = .allocate(capacity: SendVector.capacity * StreamFramer.piecesPerMessage)
    }

    deinit {
        unsafe prefixes.deallocate()
        unsafe pieces.deallocate()
    }

    /// Sends the messages of `vector` from `first` on to the stream socket `fd`, each after its length, many in a
    /// system call.
    /// - Parameter skipped: bytes of the first one, its length included, that were sent before.
    package func send(
        _ vector: borrowing SendVector, from first: Int, skipping skipped: Int, to fd: Int32
    ) -> StreamSendOutcome {
        var outcome = StreamSendOutcome(frames: 0, part: skipped)
        while first + outcome.frames < vector.count {
            let count = gather(vector, first + outcome.frames, skipping: outcome.part)
            let sent = unsafe platform_send_pieces(fd, pieces, Int32(count))
            if sent < 0 {
                if sent == -Int(Errno.interrupted) { continue }
                outcome.error = Int32(-sent)
                return outcome
            }
            advanceOutcome(&outcome, by: sent, vector, first)
        }
        return outcome
    }

    private func advanceOutcome(
        _ outcome: inout StreamSendOutcome, by sent: Int, _ vector: borrowing SendVector, _ first: Int
    ) {
        outcome.part += sent
        while first + outcome.frames < vector.count {
            let whole = vector.length(of: first + outcome.frames) + StreamDeframer.prefixLength
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
            unsafe add(UnsafeMutableRawPointer(prefixes + index), StreamDeframer.prefixLength)
            for piece in 0..<vector.pieceCount(of: index) {
                let part = unsafe vector.piece(piece, of: index)
                unsafe add(part.iov_base, part.iov_len)
            }
        }
        return count
    }
}
