// SPDX-License-Identifier: Apache-2.0

/// What one of this program's DHCP servers reports about itself to another one on the same network: of several, the one
/// with the greatest claim serves. Vendor-specific information (RFC 2132 section 8.4) of the vendor class
/// `DHCPVendorClass.server`.
package struct DHCPServerClaim: Equatable, Sendable, Comparable {
    /// The code of the claim within the vendor-specific information.
    private static let code: UInt8 = 1
    /// Bytes of the code and the length, and of the flag and the identifier after them.
    private static let headerLength = 2, valueLength = 7

    /// It serves guests, or did until its connection to the switch was lost.
    package var serves: Bool
    /// Distinguishes the servers; random, and different after each start.
    package let identifier: MACAddress

    package init(serves: Bool, identifier: MACAddress) {
        self.serves = serves
        self.identifier = identifier
    }

    /// The claim in a message; nil if it has none, as messages of other programs.
    package init?(in message: DHCPv4Message) {
        guard message[.vendorClass] == DHCPVendorClass.server, let value = message[.vendorInformation] else {
            return nil
        }
        self.init(parsing: value)
    }

    /// Nil for anything but the bytes of one claim.
    package init?(parsing value: [UInt8]) {
        guard value.count == DHCPServerClaim.headerLength + DHCPServerClaim.valueLength,
            value[0] == DHCPServerClaim.code, Int(value[1]) == DHCPServerClaim.valueLength, value[2] <= 1
        else { return nil }
        serves = value[2] == 1
        identifier = MACAddress(value.rawSpan, at: DHCPServerClaim.headerLength + 1)
    }

    /// The claim as vendor-specific information.
    package var bytes: [UInt8] {
        [DHCPServerClaim.code, UInt8(DHCPServerClaim.valueLength), serves ? 1 : 0] + identifier.bytes
    }

    /// Adds the claim to a message.
    package func write(to message: inout DHCPv4Message) {
        message[.vendorClass] = DHCPVendorClass.server
        message[.vendorInformation] = bytes
    }

    /// A server that serves comes before one that does not, so that guests keep their server.
    package static func < (one: DHCPServerClaim, other: DHCPServerClaim) -> Bool {
        one.serves == other.serves ? one.identifier.value < other.identifier.value : other.serves
    }
}
