// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The port of the switch by which a client's frame came in.
package struct ClientPort: Hashable, Sendable {
    package enum Kind: Sendable {
        /// A port of our own switch with one guest behind it. Its leases may be reused when the port is gone and the
        /// pool is exhausted.
        case guest
        /// A port of our own switch that leads to further clients.
        case trunk
        /// The only way to all clients: a switch or a cable that was joined.
        case network
    }

    package let number: UInt16
    package let kind: Kind

    package init(_ number: UInt16, _ kind: Kind) {
        self.number = number
        self.kind = kind
    }

    package static let network = ClientPort(0, .network)
}

/// A client that asks for an address.
package struct Applicant: Sendable {
    package var client: ClientIdentity
    package let hardware: MACAddress
    package let port: ClientPort
}

/// How fast new clients may come by one port (the generic cell rate algorithm, ITU-T I.371): so many at once, and then
/// one a second.
struct NewClientRate: Sendable {
    /// New clients that may come at once.
    static let burst: Int64 = 64
    /// One more may come after each.
    static let interval = TimeAmount.seconds(1)

    /// When the whole burst is available again.
    private var full = Instant.distantPast

    func isExhausted(_ now: Instant) -> Bool { full > now + NewClientRate.interval * (NewClientRate.burst - 1) }

    /// Whether more than half of the burst is used.
    func isBusy(_ now: Instant) -> Bool { full > now + NewClientRate.interval * (NewClientRate.burst / 2) }

    mutating func take(_ now: Instant) { full = max(full, now) + NewClientRate.interval }
}
