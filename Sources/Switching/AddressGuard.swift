// SPDX-License-Identifier: Apache-2.0
import Wire

/// Whose IPv4 addresses are: what our own DHCP has given to one machine, no other may send from, nor answer for. Addresses that were given to
/// nobody may be anybody's. One thread at a time.
struct AddressGuard: Sendable {
    private struct Owner: Sendable {
        let hardware: MACAddress
        /// Nanoseconds of the monotonic clock.
        let until: UInt64
    }

    private var owners: [IPv4Address: Owner] = [:]
    /// Frames of a burst mostly claim the same.
    private var lastClaim = Claim(address: .any, hardware: .zero)

    /// What a frame says of its sender.
    struct Claim: Equatable, BitwiseCopyable, Sendable {
        let address: IPv4Address
        let hardware: MACAddress

        init(address: IPv4Address, hardware: MACAddress) {
            self.address = address
            self.hardware = hardware
        }

        /// Returns nil for frames that claim nothing: other protocols, and machines that have no address yet (RFC 5227 section 1.1).
        init?(_ frame: RawSpan, _ header: FrameHeader) {
            let start = header.isTagged ? 18 : 14
            guard frame.byteCount >= start + 20 else { return nil }
            switch frame.big16(at: start - 2) {
            case EtherType.ipv4:
                address = IPv4Address(frame.big32(at: start + 12))
                hardware = header.source
            case EtherType.arp:
                guard frame.byteCount >= start + 28 else { return nil }
                address = IPv4Address(frame.big32(at: start + 14))
                hardware = MACAddress(frame.big64(at: start + 6) & 0xffff_ffff_ffff)
            default:
                return nil
            }
            if address == .any { return nil }
        }
    }

    /// Notes whose an address is, until then.
    mutating func note(_ address: IPv4Address, _ hardware: MACAddress, until: UInt64) {
        owners[address] = Owner(hardware: hardware, until: until)
        lastClaim = Claim(address: .any, hardware: .zero)
    }

    /// Whether who sends from `source` may claim this.
    /// - Parameter now: seconds of the monotonic clock.
    mutating func admits(_ claim: Claim, from source: MACAddress, now: UInt32) -> Bool {
        // Both addresses of an ARP packet are the sender's.
        if claim == lastClaim && claim.hardware == source { return true }
        if let owner = owners[claim.address], owner.until / 1_000_000_000 > UInt64(now) {
            guard owner.hardware == claim.hardware, owner.hardware == source else { return false }
        }
        if claim.hardware == source { lastClaim = claim }
        return true
    }
}
