// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform
import Wire

/// Receives frames from a stream socket, where each is after its length as 32 bits, big endian: QEMU's `stream` and
/// `socket` (net/stream.c), socket_vmnet, passt.
///
/// Received bytes lie in one buffer, from which whole frames are copied to batches; the start of a frame stays there
/// until the rest has come. The buffer is allocated when the first bytes come.
@safe
@usableFromInline
package struct StreamDeframer: ~Copyable {
    /// 64 KiB and the Ethernet header: what the programs at the other end accept.
    package static var maximumFrameLength: Int { (64 << 10) + EthernetHeader.length }
    /// Bytes of the length before a frame.
    package static let prefixLength = 4
    /// Room for a batch of full-size frames, or the longest frame and the start of another.
    private static let capacity = 128 * 1024

    private var memory: UnsafeMutableRawPointer?
    private var start = 0
    private var end = 0
    /// An impossible length that the peer has announced; nothing after it can be parsed.
    package private(set) var badLength: UInt32?
    /// The peer has closed the stream, or its bytes cannot be parsed any more.
    package private(set) var isOver = false
    /// A whole frame is in the buffer, which makes no descriptor readable.
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
        while batch.count < batch.capacity, let length = nextLength() {
            batch.append(
                copying: unsafe RawSpan(
                    _unsafeStart: UnsafeRawPointer(memory! + start + StreamDeframer.prefixLength), byteCount: length))
            start += StreamDeframer.prefixLength + length
        }
        holdsFrame = nextLength() != nil
        if badLength != nil { isOver = true }
        outcome.frames = batch.count
        return outcome
    }

    /// Receives once, after the bytes in the buffer.
    private mutating func fill(from fd: Int32) {
        if unsafe memory == nil { unsafe memory = .allocate(byteCount: StreamDeframer.capacity, alignment: 64) }
        if start > 0 {
            // Less than a frame, and moved once: it stays at the start until it is whole.
            unsafe memory!.copyMemory(from: memory! + start, byteCount: end - start)
            (start, end) = (0, end - start)
        }
        let received = unsafe platform_receive(fd, memory! + end, StreamDeframer.capacity - end)
        if received == 0 || (received < 0 && received != -Int(Errno.again) && received != -Int(Errno.interrupted)) {
            isOver = true
        }
        end += max(0, received)
    }

    /// The length of the whole frame that comes next; nil if it is not whole, or its length is impossible.
    private mutating func nextLength() -> Int? {
        let available = end - start
        guard badLength == nil, available >= StreamDeframer.prefixLength else { return nil }
        let length = unsafe UInt32(bigEndian: (memory! + start).loadUnaligned(as: UInt32.self))
        guard length >= EthernetHeader.length, length <= StreamDeframer.maximumFrameLength else {
            badLength = length
            return nil
        }
        return available >= StreamDeframer.prefixLength + Int(length) ? Int(length) : nil
    }
}
