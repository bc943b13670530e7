// SPDX-License-Identifier: Apache-2.0

/// An IPv4 network: an address and how many leading bits belong to the network.
package struct IPv4Network: Hashable, Sendable {
    /// The network's first address.
    package let base: IPv4Address
    /// 0 to 32.
    package let prefixLength: Int

    /// The network of `prefixLength` bits in which `address` lies.
    package init(containing address: IPv4Address, prefixLength: Int) {
        precondition((0...32).contains(prefixLength))
        self.prefixLength = prefixLength
        base = IPv4Address(address.value & IPv4Network.mask(prefixLength))
    }

    /// Parses `BASE/LENGTH`; nil for anything else, and for an address that is not the network's first.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let base = IPv4Address(parts[0]), (1...2).contains(parts[1].utf8.count),
            let length = UInt8(digits: parts[1]), length <= 32
        else { return nil }
        self.init(containing: base, prefixLength: Int(length))
        guard self.base == base else { return nil }
    }

    /// The network of `address` under `mask`, or nil if the mask's bits are not contiguous.
    package init?(containing address: IPv4Address, mask: IPv4Address) {
        // Of a contiguous mask, the complement is one below a power of two (or all ones, for which the sum wraps to
        // zero).
        guard ~mask.value & (~mask.value &+ 1) == 0 else { return nil }
        self.init(containing: address, prefixLength: mask.value.nonzeroBitCount)
    }

    private static func mask(_ length: Int) -> UInt32 { length == 0 ? 0 : ~UInt32(0) << UInt32(32 - length) }

    /// The network's mask, such as 255.255.255.0.
    package var mask: IPv4Address { IPv4Address(IPv4Network.mask(prefixLength)) }
    /// The network's last address, its directed broadcast.
    package var broadcast: IPv4Address { IPv4Address(base.value | ~mask.value) }

    /// Whether `address` lies in the network, whose first and last address count.
    package func contains(_ address: IPv4Address) -> Bool { address.value & mask.value == base.value }

    /// Whether one network contains the other.
    package func overlaps(_ other: IPv4Network) -> Bool {
        let shorter = min(prefixLength, other.prefixLength)
        return IPv4Network(containing: base, prefixLength: shorter)
            == IPv4Network(containing: other.base, prefixLength: shorter)
    }
}

extension IPv4Network: CustomStringConvertible {
    @usableFromInline package var description: String { "\(base)/\(prefixLength)" }
}
