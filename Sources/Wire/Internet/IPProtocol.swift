// SPDX-License-Identifier: Apache-2.0

/// Protocol numbers of IP (IANA "Assigned Internet Protocol Numbers").
@usableFromInline
package enum IPProtocol {
    @inlinable package static var icmp: UInt8 { 1 }
    @inlinable package static var tcp: UInt8 { 6 }
    @inlinable package static var udp: UInt8 { 17 }
    @inlinable package static var icmpv6: UInt8 { 58 }
}
