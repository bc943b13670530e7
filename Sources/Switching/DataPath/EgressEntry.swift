// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Wire

/// A frame that is to leave through a port: its index in the batch, what happens to its VLAN tag there, and whether it
/// is too long for that port.
struct EgressEntry: BitwiseCopyable {
    /// Bits 0 to 12: the index; bit 13: too long; bits 14 and 15: the tag.
    private let raw: UInt16

    @inline(__always)
    init(_ index: Int, _ edit: TagEdit, isOversize: Bool = false) {
        raw = UInt16(truncatingIfNeeded: index) | (isOversize ? 1 << 13 : 0) | UInt16(edit.rawValue) << 14
    }

    var index: Int { Int(raw & 0x1fff) }
    var isOversize: Bool { raw & 1 << 13 != 0 }
    var edit: TagEdit { TagEdit(rawValue: UInt8(raw >> 14)) ?? .keep }
}
