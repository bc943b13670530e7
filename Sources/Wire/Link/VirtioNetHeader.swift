// SPDX-License-Identifier: Apache-2.0

/// The offload metadata of a frame in `virtio_net_hdr`: which checksum is partial and how to segment the frame (virtio
/// 1.2 section 5.1.6; Linux `include/uapi/linux/virtio_net.h`). Travels with the frame as `FrameDescriptor.offload`.
@usableFromInline
package struct VirtioNetHeader: Equatable, BitwiseCopyable, Sendable {
    /// The form with `num_buffers`, which TAP (`TUNSETVNETHDRSZ`), vmnet and vhost-user share.
    @inlinable package static var length: Int { 12 }
    /// The form packet sockets use (`PACKET_VNET_HDR`), without `num_buffers`.
    @inlinable package static var shortLength: Int { 10 }

    /// The `flags` field.
    @usableFromInline
    package struct Flags: OptionSet, BitwiseCopyable, Sendable {
        @usableFromInline package let rawValue: UInt8
        @inlinable package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The checksum at `checksumStart + checksumOffset` holds the pseudo-header's sum only.
        @inlinable package static var needsChecksum: Flags { Flags(rawValue: 1) }
    }

    /// The `gso_type` field without its ECN bit.
    @usableFromInline
    package enum Segmentation: UInt8, BitwiseCopyable, Sendable {
        case none = 0
        case tcp4 = 1
        case tcp6 = 4
        /// UDP segmentation offload (USO), Linux 6.2 and later.
        case udp = 5
    }

    /// The `flags` field.
    @usableFromInline package var flags: Flags
    /// The segmentation type without the ECN bit (0x80).
    @usableFromInline package var segmentation: Segmentation
    /// The first segment of the GSO frame carries CWR and later ones must not.
    @usableFromInline package var hasECN: Bool
    /// Length of all headers: a hint only, never trusted.
    @usableFromInline package var headerLength: UInt16
    /// Payload bytes per segment; not zero unless `segmentation` is `none`.
    @usableFromInline package var segmentSize: UInt16
    /// Offset in the frame from which the checksum runs to the end.
    @usableFromInline package var checksumStart: UInt16
    /// Offset of the checksum field from `checksumStart`.
    @usableFromInline package var checksumOffset: UInt16

    /// A frame with complete checksums that needs no segmentation.
    @inlinable
    package init() {
        flags = []
        segmentation = .none
        hasECN = false
        headerLength = 0
        segmentSize = 0
        checksumStart = 0
        checksumOffset = 0
    }

    /// True if the frame can go to any port unchanged.
    @inlinable
    package var isPlain: Bool { segmentation == .none && !flags.contains(.needsChecksum) }

    /// Reads the header at the start of `bytes` (little-endian, as modern virtio and TAPs with `TUNSETVNETLE` have it).
    /// Returns nil for bytes that are too short or name a segmentation that is not offered.
    @inlinable
    package init?(parsing bytes: RawSpan) {
        guard bytes.byteCount >= VirtioNetHeader.shortLength else { return nil }
        guard let segmentation = Segmentation(rawValue: bytes.byte(at: 1) & 0x7f) else { return nil }
        flags = Flags(rawValue: bytes.byte(at: 0))
        self.segmentation = segmentation
        hasECN = bytes.byte(at: 1) & 0x80 != 0
        headerLength = bytes.little16(at: 2)
        segmentSize = bytes.little16(at: 4)
        checksumStart = bytes.little16(at: 6)
        checksumOffset = bytes.little16(at: 8)
        guard segmentation == .none || segmentSize > 0 else { return nil }
    }

    /// Writes 10 or 12 bytes at the start of `bytes`, as many as it has room for; `num_buffers` is 0.
    @inlinable
    @_lifetime(bytes: copy bytes)
    package func emit(into bytes: inout MutableRawSpan) {
        bytes.put8(flags.rawValue, at: 0)
        bytes.put8(segmentation.rawValue | (hasECN ? 0x80 : 0), at: 1)
        bytes.put16Little(headerLength, at: 2)
        bytes.put16Little(segmentSize, at: 4)
        bytes.put16Little(checksumStart, at: 6)
        bytes.put16Little(checksumOffset, at: 8)
        if bytes.byteCount >= VirtioNetHeader.length { bytes.put16Little(0, at: 10) }
    }
}
