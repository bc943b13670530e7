// SPDX-License-Identifier: Apache-2.0
import Wire

/// A guest's claims about itself in a neighbour discovery message (RFC 4861 section 4).
struct NeighborMessage: Equatable, BitwiseCopyable, Sendable {
    /// The address that the sender advertises as its own, or is about to take (RFC 4862 section 5.4).
    private(set) var claimed: IPv6Address?
    /// The sender looks for duplicates of that address.
    private(set) var isDetection = false
    /// The hardware address in the message, if it is not the frame's source.
    private(set) var hardware: MACAddress?

    /// Options that are read of one message. Fewer than ten are defined.
    private static let limit = 32

    /// - Parameters:
    ///   - message: an ICMPv6 message of one of the types below, from its type to the packet's end.
    ///   - source: of the packet.
    ///   - hardware: the source of the frame.
    /// - Returns: nil if a field or an option is cut off, there are more options than are read, or they contradict
    ///   each other.
    init?(_ message: RawSpan, from source: IPv6Address, at hardware: MACAddress) {
        let type = message.byte(at: ICMPHeader.Field.type)
        let isAdvertisement = type == ICMPv6Type.neighborAdvertisement
        // A router solicitation has no target.
        let hasTarget = type != ICMPv6Type.routerSolicitation
        var offset = hasTarget ? NDPView.headerLength : ICMPHeader.length
        guard message.byteCount >= offset else { return nil }
        if hasTarget && (isAdvertisement || source == .unspecified) {
            // A solicitation from an address looks for another station.
            claimed = IPv6Address(message, at: NDPView.Field.target)
            isDetection = !isAdvertisement
        }
        // The link-layer address of the source, in an advertisement of the target.
        let option =
            isAdvertisement ? NDPOptions.Kind.targetLinkLayerAddress : NDPOptions.Kind.sourceLinkLayerAddress
        for _ in 0..<NeighborMessage.limit {
            if offset == message.byteCount { return }
            guard message.byteCount - offset >= NDPOptions.unit else { return nil }
            let length = Int(message.byte(at: offset + NDPOptions.Field.length)) * NDPOptions.unit
            guard length > 0, message.byteCount - offset >= length else { return nil }
            if message.byte(at: offset + NDPOptions.Field.kind) == option {
                let named = MACAddress(message, at: offset + NDPOptions.addressOffset)
                guard self.hardware == nil || self.hardware == named else { return nil }
                if named != hardware { self.hardware = named }
            }
            offset += length
        }
        return nil
    }
}
