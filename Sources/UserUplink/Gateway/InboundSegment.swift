// SPDX-License-Identifier: Apache-2.0
import Wire

/// A guest's TCP segment, of which the gateway has verified everything but what it means to its connection.
package struct InboundSegment: Equatable, Sendable {
    /// The connection that the segment belongs to, or would open.
    package let key: FlowKey
    /// The sender.
    package let hardware: MACAddress
    /// Where the segment lies in the frame.
    let range: Range<Int>
    /// Which guest to charge for the connection that this segment opens; nil if it opens none.
    package let owner: GuestOwner?
    /// How the connection that this segment opens is checked.
    var check = NameCheckKind.none
    /// TTL or hop limit, when it came.
    var hops: UInt8 = 64
}

extension TCPFlags {
    /// Whether a segment requests a new connection.
    var isInitialSYN: Bool { intersection([.syn, .ack, .rst]) == .syn }
}
