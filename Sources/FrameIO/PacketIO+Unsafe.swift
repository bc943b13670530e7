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

/// Frames to and from a packet socket, with a 10-byte virtio header in front (`packet(7)`, PACKET_VNET_HDR).
@usableFromInline
package enum PacketIO {
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

    /// Puts the virtio header before frame `index` and appends both to `vector`.
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
