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
        let type = message.byte(at: 0)
        let isAdvertisement = type == NeighborDiscovery.neighborAdvertisement
        // A router solicitation has no target.
        var offset = type == NeighborDiscovery.routerSolicitation ? 8 : 24
        guard message.byteCount >= offset else { return nil }
        if offset == 24 && (isAdvertisement || source == .unspecified) {
            // A solicitation from an address looks for another station.
            claimed = IPv6Address(message, at: 8)
            isDetection = !isAdvertisement
        }
        // The link-layer address of the source, in an advertisement of the target.
        let option: UInt8 = isAdvertisement ? 2 : 1
        for _ in 0..<NeighborMessage.limit {
            if offset == message.byteCount { return }
            guard message.byteCount - offset >= 8 else { return nil }
            let length = Int(message.byte(at: offset + 1)) * 8
            guard length > 0, message.byteCount - offset >= length else { return nil }
            if message.byte(at: offset) == option {
                let named = MACAddress(message.big64(at: offset))
                guard self.hardware == nil || self.hardware == named else { return nil }
                if named != hardware { self.hardware = named }
            }
            offset += length
        }
        return nil
    }
}
