// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The switch port from which a client's frame was received.
package struct ClientPort: Hashable, Sendable {
    /// What is connected to a port.
    package enum Kind: Sendable {
        /// A port of the built-in switch with one guest behind it. Its leases may be reused when the port is detached
        /// and the pool is exhausted.
        case guest
        /// A port of the built-in switch with several clients behind it.
        case trunk
        /// The one port to all clients: an external switch or a point-to-point link.
        case network
    }

    /// The port's number; 0 for `network`.
    package let number: UInt16
    /// What is connected to the port.
    package let kind: Kind

    /// Port `number` of the switch.
    package init(_ number: UInt16, _ kind: Kind) {
        self.number = number
        self.kind = kind
    }

    /// The port of a network whose ports the server does not have.
    package static let network = ClientPort(0, .network)
}

/// The client of a request: its identity, its hardware address, and its port.
package struct Applicant: Sendable {
    /// The client, distinguished from its clones.
    package internal(set) var client: ClientIdentity
    /// `chaddr`.
    package let hardware: MACAddress
    /// The port of the request.
    package let port: ClientPort
}

/// Limits how fast new clients may appear at one port (generic cell rate algorithm, ITU-T I.371): a burst, then one a
/// second.
struct NewClientRate: Sendable {
    /// New clients that may come at once.
    static let burst: Int64 = 64
    /// One more may come after each.
    static let interval = TimeAmount.seconds(1)

    /// When the whole burst is available again (the theoretical arrival time).
    private var full = Instant.distantPast

    /// Whether no further client may appear now.
    func isExhausted(_ now: Instant) -> Bool { full > now + NewClientRate.interval * (NewClientRate.burst - 1) }

    /// Whether more than half of the burst is used.
    func isBusy(_ now: Instant) -> Bool { full > now + NewClientRate.interval * (NewClientRate.burst / 2) }

    /// Counts one new client.
    mutating func take(_ now: Instant) { full = max(full, now) + NewClientRate.interval }
}
