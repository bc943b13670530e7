// SPDX-License-Identifier: Apache-2.0
import Wire

/// What a guest says of itself by neighbour discovery (RFC 4861 section 4).
struct NeighborMessage: Equatable, BitwiseCopyable, Sendable {
    /// The address that the sender says it has, by an advertisement, or is about to take (RFC 4862 section 5.4).
    private(set) var claimed: IPv6Address?
    /// The sender looks for duplicates of it.
    private(set) var isDetection = false
    /// A hardware address that it names as the sender's, other than that of the frame.
    private(set) var hardware: MACAddress?

    /// Options that are read of one message. Those that are in use come to fewer than ten.
    private static let limit = 32

    /// - Parameters:
    ///   - message: an ICMPv6 message of one of the types below, from its type to the packet's end.
    ///   - source: of the packet.
    ///   - hardware: the source of the frame.
    /// - Returns: nil where a field or an option is cut off, there are more options than are read, or they contradict
    ///   each other.
    init?(_ message: RawSpan, from source: IPv6Address, at hardware: MACAddress) {
        let type = message.byte(at: 0)
        let isAdvertisement = type == NeighborDiscovery.neighborAdvertisement
        // A router solicitation has no target.
        var place = type == NeighborDiscovery.routerSolicitation ? 8 : 24
        guard message.byteCount >= place else { return nil }
        if place == 24 && (isAdvertisement || source == .unspecified) {
            // From an address, a solicitation is a question for another's.
            claimed = IPv6Address(message, at: 8)
            isDetection = !isAdvertisement
        }
        // The link-layer address of the source, in an advertisement of the target.
        let wanted: UInt8 = isAdvertisement ? 2 : 1
        for _ in 0..<NeighborMessage.limit {
            if place == message.byteCount { return }
            guard message.byteCount - place >= 8 else { return nil }
            let length = Int(message.byte(at: place + 1)) * 8
            guard length > 0, message.byteCount - place >= length else { return nil }
            if message.byte(at: place) == wanted {
                let named = MACAddress(message.big64(at: place))
                guard self.hardware == nil || self.hardware == named else { return nil }
                if named != hardware { self.hardware = named }
            }
            place += length
        }
        return nil
    }
}
