// SPDX-License-Identifier: Apache-2.0

/// What happens to a frame's VLAN tag when a port sends the frame.
@usableFromInline
package enum TagEdit: UInt8, BitwiseCopyable, Sendable {
    case keep
    /// The frame has none and gets one.
    case insert
    /// The frame has one and loses it.
    case strip
}
