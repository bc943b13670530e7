// SPDX-License-Identifier: Apache-2.0
import CPlatform
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
package enum TapFrames {
    /// Reads frames into the empty `batch` until nothing is left, it is full, or `byteLimit` bytes have come, so that
    /// super-frames are still in the cache when they are sent on.
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

/// Frames to and from a packet socket, with a 10-byte virtio header in front (`packet(7)`, PACKET_VNET_HDR).
@usableFromInline
package enum PacketFrames {
    /// Reads frames into the empty `batch`; a VLAN tag that the kernel took out is put back.
    package static func receive(from fd: Int32, into batch: inout FrameBatch, byteLimit: Int) -> ReceiveOutcome {
        var outcome = ReceiveOutcome()
        var total = 0
        while batch.count < batch.capacity && total < byteLimit {
            let slot = batch.count
            let frame = unsafe batch.address(at: FrameBatch.slotOffset(slot))
            var tag: UInt32 = 0
            let length = unsafe platform_packet_receive(
                fd, frame - VirtioNetHeader.shortLength, frame, FrameBatch.maximumFrameLength, &tag)
            if length < 0 {
                let error = Int32(-length)
                if error == EINTR { continue }
                guard error == EMSGSIZE || error == EBADMSG else {
                    outcome.error = error == EAGAIN ? 0 : error
                    break
                }
            }
            guard length >= 0, let offload = batch.receivedHeader(of: slot, length: VirtioNetHeader.shortLength) else {
                outcome.truncated += 1
                batch.append(length: 0)
                continue
            }
            total += length
            batch.append(length: length, offload: offload)
            if tag != 0 {
                batch.insert(
                    VLANTag(protocolIdentifier: UInt16(tag >> 16), control: UInt16(truncatingIfNeeded: tag)), into: slot
                )
            }
        }
        outcome.frames = batch.count
        return outcome
    }

    /// Puts the virtio header in front of frame `index` and appends both to `vector`.
    package static func append(
        _ index: Int, of batch: inout FrameBatch, to vector: inout SendVector,
        headerLength: Int = VirtioNetHeader.shortLength
    ) {
        batch.prependHeader(to: index, length: headerLength)
        let frame = batch[index]
        let address = unsafe batch.address(at: Int(frame.offset) - headerLength)
        unsafe vector.append(address, length: Int(frame.length) + headerLength)
    }
}
