// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Timing
import Wire

/// DNS over TCP for guests (RFC 7766): a connection carries several queries at a time, and each response is sent as
/// soon as it is there (section 6.2.1.1).
///
/// The number of connections is bounded. When a further one is opened at the bound, the guest with the most loses the
/// one that has been idle for longest.
final class DNSOverTCPProxy {
    /// How long a connection may be idle (RFC 7766 section 6.2.3).
    private static let idleTimeout = TimeAmount.seconds(10)

    private let loop: ControlLoop
    private let limit: Int
    private let share: Int
    private let onQuery: ([UInt8], UInt64, DNSGuest) -> Void
    private let onEnd: (UInt64) -> Void
    private var connections: [UInt64: DNSTCPConnection] = [:]
    private var shares = GuestShares()
    private var next: UInt64 = 0
    /// Connections with responses that `flush` sends.
    private var unsent: [UInt64] = []

    /// - Parameters:
    ///   - limit: connections at a time.
    ///   - share: those of one guest; a quarter if nil.
    ///   - onQuery: called with each query, the number of its connection, and the guest.
    ///   - onEnd: called when a connection has closed; its queries need no response any more.
    init(
        loop: ControlLoop, limit: Int, share: Int? = nil,
        onQuery: @escaping ([UInt8], UInt64, DNSGuest) -> Void,
        onEnd: @escaping (UInt64) -> Void
    ) {
        self.loop = loop
        self.limit = limit
        self.share = share ?? max(1, limit / 4)
        self.onQuery = onQuery
        self.onEnd = onEnd
    }

    /// Open connections.
    var count: Int { connections.count }

    /// The hardware address of the client of a connection, if it is open and that is known.
    func hardware(of number: UInt64) -> MACAddress? { connections[number]?.hardware }

    /// Serves a guest's connection.
    func accept(_ socket: consuming Descriptor, of guest: DNSGuest, at hardware: MACAddress? = nil) {
        if shares.held(by: guest) >= share {
            endOldest(of: guest)
        } else if shares.count >= limit {
            guard let victim = shares.victim(for: guest) ?? (shares.held(by: guest) > 0 ? guest : nil) else { return }
            endOldest(of: victim)
        }
        next += 1
        let number = next
        shares.add(guest)
        let connection = DNSTCPConnection(socket, guest: guest, loop: loop, idleTimeout: DNSOverTCPProxy.idleTimeout) {
            [unowned self] in
            onQuery($0, number, guest)
        } onEnd: { [unowned self] in
            end(number)
        }
        connection.hardware = hardware
        connection.onOutput = { [unowned self] in unsent.append(number) }
        connections[number] = connection
        connection.start()
    }

    /// Closes the connection of `guest` that has been idle for longest, first those without queries under way.
    private func endOldest(of guest: DNSGuest) {
        let own = connections.filter { $0.value.guest == guest }
        guard
            let oldest = own.min(by: {
                ($0.value.isWaiting ? 1 : 0, $0.value.lastUse) < ($1.value.isWaiting ? 1 : 0, $1.value.lastUse)
            })
        else { return }
        end(oldest.key)
    }

    /// Sends the responses since the last call.
    func flush() {
        while let number = unsent.popLast() { connections[number]?.flush() }
    }

    /// Sends a response at the next `flush`, if the connection is still open.
    func reply(_ message: [UInt8], to number: UInt64) { connections[number]?.reply(message) }

    /// Closes all connections.
    func endAll() { for number in connections.keys { end(number) } }

    /// Closes a connection.
    func end(_ number: UInt64) {
        guard let connection = connections.removeValue(forKey: number) else { return }
        connection.close()
        shares.remove(connection.guest)
        onEnd(number)
    }
}
