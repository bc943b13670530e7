// SPDX-License-Identifier: Apache-2.0
import Wire

/// The place of a frame in its batch's memory, and the offload that is still to be done.
@usableFromInline
package struct FrameDescriptor: BitwiseCopyable, Sendable {
    /// Bytes from the start of the batch's memory to the frame's first byte.
    @usableFromInline package var offset: UInt32
    /// Bytes of the frame, Ethernet header included, FCS not.
    @usableFromInline package var length: UInt32
    /// Unfinished checksum and segmentation; plain for frames that are ready to send.
    @usableFromInline package var offload: VirtioNetHeader
    /// The VLAN that the switch has classified the frame into, if it is VLAN-aware.
    @usableFromInline package var vlan: UInt16 = 0

    @inlinable
    package init(offset: UInt32, length: UInt32, offload: VirtioNetHeader = VirtioNetHeader()) {
        self.offset = offset
        self.length = length
        self.offload = offload
    }
}
