// SPDX-License-Identifier: Apache-2.0

/// An IPv6 address and how many leading bits belong to the network.
package struct IPv6Network: Hashable, Sendable {
    /// The network's first address.
    package let base: IPv6Address
    /// 0 to 128.
    package let prefixLength: Int

    /// The network of `prefixLength` bits in which `address` lies.
    package init(containing address: IPv6Address, prefixLength: Int) {
        precondition((0...128).contains(prefixLength))
        self.prefixLength = prefixLength
        base = IPv6Network.masked(address, prefixLength)
    }

    private static func masked(_ address: IPv6Address, _ length: Int) -> IPv6Address {
        // A shift by 64 gives 0.
        let high = ~UInt64(0) << UInt64(max(0, 64 - length)), low = ~UInt64(0) << UInt64(min(64, 128 - length))
        return IPv6Address(address.high & high, address.low & low)
    }

    /// Whether `address` lies in the network.
    package func contains(_ address: IPv6Address) -> Bool { IPv6Network.masked(address, prefixLength) == base }
}

extension IPv6Network: CustomStringConvertible {
    package var description: String { "\(base)/\(prefixLength)" }
}
