// SPDX-License-Identifier: Apache-2.0

/// Protocol numbers of IP (IANA "Assigned Internet Protocol Numbers").
@usableFromInline
package enum IPProtocol {
    /// RFC 792.
    @inlinable package static var icmp: UInt8 { 1 }
    /// RFC 9293.
    @inlinable package static var tcp: UInt8 { 6 }
    /// RFC 768.
    @inlinable package static var udp: UInt8 { 17 }
    /// RFC 4443.
    @inlinable package static var icmpv6: UInt8 { 58 }
}
