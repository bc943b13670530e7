// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

/// Who a client is (RFC 2131 section 2, RFC 6842): its client identifier, or hardware type and address where it sends
/// none.
package struct ClientIdentity: Hashable, Sendable {
    package let bytes: [UInt8]

    package init(bytes: [UInt8]) { self.bytes = bytes }

    package init(hardware: MACAddress) { bytes = [1] + hardware.bytes }

    /// One byte would be a type without a value.
    init(_ message: DHCPv4Message) {
        if let identifier = message[.clientIdentifier], identifier.count >= 2 {
            self.init(bytes: identifier)
        } else {
            self.init(hardware: message.clientHardware)
        }
    }

    /// A second client that sends the identifier of another, as cloned disks do.
    func distinguished(by hardware: MACAddress) -> ClientIdentity { ClientIdentity(bytes: bytes + hardware.bytes) }
}

/// An address that a client holds, or held last.
package struct Lease: Equatable, Sendable {
    package var address: IPv4Address
    package var client: ClientIdentity
    package var hardware: MACAddress
    /// The name the client gave itself (option 12), empty if none.
    package var hostName: String
    /// The name that the client holds: no two leases that run have one name. nil if it has sent none, none that a guest
    /// may have, or one that another client holds.
    package var name: GuestName?
    /// When it ends or ended, on `BootClock`.
    package var expires: Instant

    package init(
        address: IPv4Address, client: ClientIdentity, hardware: MACAddress, hostName: String, name: GuestName? = nil,
        expires: Instant
    ) {
        self.address = address
        self.client = client
        self.hardware = hardware
        self.hostName = hostName
        self.name = name
        self.expires = expires
    }
}
