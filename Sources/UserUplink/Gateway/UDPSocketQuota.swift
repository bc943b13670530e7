// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Limits the sockets that libslirp opens: one for each UDP port of a guest and each ping identifier. libslirp closes
/// them only by a timeout, so what is beyond the quota must be refused before libslirp sees it.
package struct UDPSocketQuota: Sendable {
    private struct Key: Hashable, Sendable {
        let guest: IPv6Address
        let port: UInt16
        let protocolNumber: UInt8
    }

    private struct Use: Sendable {
        var lastSeen: UInt32
        let owner: GuestOwner
    }

    /// Seconds after its last use for which libslirp may keep a socket (its SO_EXPIRE is 240 s).
    private static let socketLifetime: UInt32 = 245
    /// Seconds between two searches for expired entries.
    private static let sweepInterval: UInt32 = 10

    private var uses: [Key: Use] = [:]
    private var share: FairShare
    private var nextSweep: UInt32 = 0
    /// Cache: most datagrams come from the port of the one before.
    private var last: (key: Key, second: UInt32)?

    /// - Parameter capacity: sockets, of all guests.
    package init(capacity: Int) { share = FairShare(capacity: capacity) }

    /// Sockets that libslirp may have open.
    package var count: Int { uses.count }

    /// Whether a datagram may be sent from a port. No guest gets more sockets than it leaves for the others.
    /// - Parameters:
    ///   - port: the UDP port, or the identifier of a ping.
    ///   - owner: the guest to charge; nil charges the guest's address.
    package mutating func admit(
        _ guest: IPv6Address, port: UInt16, _ protocolNumber: UInt8, by owner: GuestOwner? = nil, now: Instant
    ) -> Bool {
        let key = Key(guest: guest, port: port, protocolNumber: protocolNumber), second = now.seconds32
        if let last, last.key == key, last.second == second { return true }
        if uses[key] != nil {
            uses[key]!.lastSeen = second
        } else {
            if second >= nextSweep { sweep(second) }
            let owner = owner ?? .address(guest)
            guard share.hasRoom(for: owner) else { return false }
            share.add(owner)
            uses[key] = Use(lastSeen: second, owner: owner)
        }
        last = (key, second)
        return true
    }

    /// Whether libslirp may have a socket for this port.
    func contains(_ guest: IPv6Address, port: UInt16, _ protocolNumber: UInt8) -> Bool {
        uses[Key(guest: guest, port: port, protocolNumber: protocolNumber)] != nil
    }

    private mutating func sweep(_ second: UInt32) {
        nextSweep = second + Self.sweepInterval
        for (key, use) in uses where use.lastSeen + Self.socketLifetime < second {
            uses[key] = nil
            share.remove(use.owner)
        }
    }
}
