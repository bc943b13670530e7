// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

/// What identifies a client (RFC 2131 section 2, RFC 6842): its client identifier, or hardware type and address if it
/// sends none.
package struct ClientIdentity: Hashable, Sendable {
    /// Option 61 without its length.
    package let bytes: [UInt8]

    /// An identity read from a journal.
    package init(bytes: [UInt8]) { self.bytes = bytes }

    /// The identity of a client without an identifier.
    package init(hardware: MACAddress) { bytes = [1] + hardware.bytes }

    /// The identity of the sender of `message`. An identifier of one byte has a type and no value and is ignored.
    init(_ message: DHCPv4Message) {
        if let identifier = message[.clientIdentifier], identifier.count >= 2 {
            self.init(bytes: identifier)
        } else {
            self.init(hardware: message.clientHardware)
        }
    }

    /// The identity of a second client with the same identifier, as guests from a cloned disk have it.
    func distinguished(by hardware: MACAddress) -> ClientIdentity { ClientIdentity(bytes: bytes + hardware.bytes) }
}

/// An address that a client holds, or held before the lease ended.
package struct Lease: Equatable, Sendable {
    /// The address that is leased.
    package var address: IPv4Address
    /// The client that holds it.
    package var client: ClientIdentity
    /// The client's hardware address.
    package var hardware: MACAddress
    /// The name that the client sent (option 81, else 12), valid or not; empty if none.
    package var hostName: String
    /// The name that the client holds: no two active leases have the same name. Nil if the client sent none, one that
    /// is no valid name, or one that another client holds.
    package var name: GuestName?
    /// When it ends or ended, on `BootClock`.
    package var expires: Instant

    /// A lease.
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
