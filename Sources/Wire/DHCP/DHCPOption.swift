// SPDX-License-Identifier: Apache-2.0

/// DHCP's ports (RFC 2131 section 4.1).
@usableFromInline
package enum DHCPPort {
    /// Servers listen here.
    @inlinable package static var server: UInt16 { 67 }
    /// Clients listen here.
    @inlinable package static var client: UInt16 { 68 }
    /// DHCPv6 clients listen here (RFC 8415 section 7.2).
    @inlinable package static var clientIPv6: UInt16 { 546 }
    /// DHCPv6 servers and relays listen here (RFC 8415 section 7.2).
    @inlinable package static var serverIPv6: UInt16 { 547 }
}

/// Vendor class identifiers of clients (RFC 2132 section 9.13).
package enum DHCPVendorClass {
    /// `vde_vmnet check`, which releases its address at once.
    package static let check = Array("vde_vmnet check".utf8)
    /// A DHCP server of vde_vmnet that looks for others: `DHCPServerClaim`. It requests no address.
    package static let server = Array("vde_vmnet server".utf8)
    /// Clients that use no address for long. The server offers them one from the end of the pool, so that guests get
    /// the first ones.
    package static let borrowers = [check, server]
}

/// DHCP option codes (RFC 2132 unless noted).
package enum DHCPOption: UInt8, Sendable {
    case subnetMask = 1
    case router = 3
    case domainNameServer = 6
    case hostName = 12
    case domainName = 15
    case interfaceMTU = 26
    case broadcastAddress = 28
    case vendorInformation = 43
    case requestedAddress = 50
    case leaseTime = 51
    case overload = 52
    case messageType = 53
    case serverIdentifier = 54
    case parameterRequestList = 55
    case message = 56
    case maximumMessageSize = 57
    case renewalTime = 58
    case rebindingTime = 59
    case vendorClass = 60
    case clientIdentifier = 61
    case serverName = 66
    case bootFile = 67
    /// RFC 3004.
    case userClass = 77
    /// RFC 4702.
    case clientFQDN = 81
    /// RFC 4578 section 2.1.
    case clientArchitecture = 93
    /// RFC 3397.
    case domainSearch = 119
    /// Options of iPXE, encapsulated.
    case ipxe = 175
}
