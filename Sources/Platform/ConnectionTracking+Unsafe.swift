// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Wire

/// The kernel's table of connections that pass this host (Linux).
package enum ConnectionTracking {
    /// Removes the entries of connections in which one of the addresses is the source of a direction: what the address
    /// has begun, and what has led to it, through published ports too. Reads all entries once, which may take tenths
    /// of a second on a host that has hundreds of thousands.
    /// - Returns: how many were removed.
    /// - Throws: if this process may not, or the kernel has no module `nf_conntrack_netlink`.
    package static func remove(of addresses: [IPAddress]) throws(SystemError) -> Int {
        try remove(from: addresses.map { prefix($0, 128) }, labels: nil)
    }

    /// Removes the entries of connections that have one of the labels, and in which an address of one of the networks
    /// is the source of a direction. Reads all entries once.
    /// - Parameter labels: below 128.
    /// - Returns: how many were removed.
    /// - Throws: as above.
    package static func remove(
        from networks: (IPv4Network, IPv6Network?), labels: ClosedRange<UInt8>
    ) throws(SystemError) -> Int {
        let four = prefix(.ipv4(networks.0.base), 96 + networks.0.prefixLength)
        let six = networks.1.map { prefix(.ipv6($0.base), $0.prefixLength) }
        return try remove(from: [four] + (six.map { [$0] } ?? []), labels: labels)
    }

    private static func prefix(_ address: IPAddress, _ length: Int) -> platform_prefix {
        var prefix = platform_prefix()
        let bytes =
            switch address {
            case .ipv4(let address): [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + address.bytes
            case .ipv6(let address): address.bytes
            }
        unsafe withUnsafeMutableBytes(of: &prefix.address) { unsafe $0.copyBytes(from: bytes) }
        prefix.length = UInt8(length)
        return prefix
    }

    private static func remove(
        from sources: [platform_prefix], labels: ClosedRange<UInt8>?
    ) throws(SystemError) -> Int {
        let count = unsafe sources.withUnsafeBufferPointer {
            unsafe platform_conntrack_remove(
                $0.baseAddress, Int32(truncatingIfNeeded: sources.count), labels.map { Int32($0.lowerBound) } ?? -1,
                labels.map { Int32($0.upperBound) } ?? -1)
        }
        return Int(try SystemError.check(count, "remove connections of", "guests' addresses"))
    }
}
