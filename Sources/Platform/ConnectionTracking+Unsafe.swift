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
        let bytes = addresses.flatMap { address in
            switch address {
            case .ipv4(let address): [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + address.bytes
            case .ipv6(let address): address.bytes
            }
        }
        let count = unsafe bytes.withUnsafeBufferPointer {
            unsafe platform_conntrack_remove($0.baseAddress, Int32(truncatingIfNeeded: addresses.count))
        }
        return Int(try SystemError.check(count, "remove connections of", "guests' addresses"))
    }
}
