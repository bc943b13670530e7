// SPDX-License-Identifier: Apache-2.0
import Wire

/// Where a frame lies in its batch's memory and what is still to be done to it.
@usableFromInline
package struct FrameDescriptor: BitwiseCopyable, Sendable {
    /// Bytes from the start of the batch's memory to the frame's first byte.
    @usableFromInline package var offset: UInt32
    /// Bytes of the frame, Ethernet header included, FCS not.
    @usableFromInline package var length: UInt32
    /// Unfinished checksum and segmentation; plain for frames that are ready to send.
    @usableFromInline package var offload: VirtioNetHeader
    /// The VLAN that the switch has put the frame in, where it looks at VLANs at all.
    @usableFromInline package var vlan: UInt16 = 0

    @inlinable
    package init(offset: UInt32, length: UInt32, offload: VirtioNetHeader = VirtioNetHeader()) {
        self.offset = offset
        self.length = length
        self.offload = offload
    }
}
