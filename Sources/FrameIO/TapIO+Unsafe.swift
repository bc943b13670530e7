// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Frames to and from a TAP: one system call each, with a 12-byte virtio header in front (Linux `drivers/net/tun.c`).
@usableFromInline
package enum TapIO {
    /// Reads frames into the empty `batch` until nothing is left, it is full, or `byteLimit` bytes have come, so that
    /// GSO frames are still in the cache when they are sent on.
    package static func receive(from fd: Int32, into batch: inout FrameBatch, byteLimit: Int) -> ReceiveOutcome {
        var outcome = ReceiveOutcome()
        var total = 0
        let room = VirtioNetHeader.length + FrameBatch.maximumFrameLength
        while batch.count < batch.capacity && total < byteLimit {
            let slot = batch.count
            let address = unsafe batch.address(at: FrameBatch.slotOffset(slot) - VirtioNetHeader.length)
            let length = unsafe read(fd, address, room)
            if length < 0 {
                if Errno.last == EINTR { continue }
                outcome.error = Errno.last == EAGAIN ? 0 : Errno.last
                break
            }
            guard length >= VirtioNetHeader.length, let offload = batch.receivedHeader(of: slot) else {
                outcome.truncated += 1
                batch.append(length: 0)
                continue
            }
            total += length
            batch.append(length: length - VirtioNetHeader.length, offload: offload)
        }
        outcome.frames = batch.count
        return outcome
    }

    /// Writes frame `index` of `batch`. Returns 0 or a positive errno.
    package static func send(_ index: Int, of batch: inout FrameBatch, to fd: Int32) -> Int32 {
        batch.prependHeader(to: index)
        let frame = batch[index]
        let address = unsafe batch.address(at: Int(frame.offset) - VirtioNetHeader.length)
        while unsafe write(fd, address, Int(frame.length) + VirtioNetHeader.length) < 0 {
            if Errno.last != EINTR { return Errno.last }
        }
        return 0
    }
}
