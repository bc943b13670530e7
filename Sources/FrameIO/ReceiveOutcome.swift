// SPDX-License-Identifier: Apache-2.0

/// The result of a receive call.
@usableFromInline
package struct ReceiveOutcome: BitwiseCopyable, Sendable {
    /// Frames appended to the batch. Some may be runts, a datagram that was too long has length 0.
    @usableFromInline package var frames = 0
    /// How many of them were longer than any frame may be.
    @usableFromInline package var truncated = 0
    /// How many of them were empty datagrams, which a libvdeplug peer sends when it disconnects.
    @usableFromInline package var empty = 0
    /// A positive errno if nothing was received, unless nothing was there (0).
    @usableFromInline package var error: Int32 = 0

    @inlinable package init() {}
}
