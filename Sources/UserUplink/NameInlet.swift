// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Carries guests' connections to the name server from the forwarder's thread to the main thread: one end of a socket
/// pair each, with the guest's address. No port of this host has to be listened on.
package final class NameInlet: Sendable {
    /// Connections that were not taken yet.
    private static let capacity = 64
    /// And those of one guest.
    private static let share = 8

    private struct Arrival: Sendable {
        let raw: Int32
        let guest: IPv4Address
    }

    private let arrivals = Mutex<[Arrival]>([])
    /// Becomes readable when there is something to take.
    package let notification: Wakeup

    package init() throws(SystemError) { notification = try Wakeup() }

    deinit {
        while take() != nil {}
    }

    /// Begins a connection of a guest's. Returns its end of it.
    /// - Throws: "no buffers" where too many were not taken yet; the guest asks again.
    func open(for guest: IPv4Address, _ hardware: MACAddress?) throws(SystemError) -> Descriptor {
        let isFull = arrivals.withLock {
            $0.count >= NameInlet.capacity || $0.count { $0.guest == guest } >= NameInlet.share
        }
        guard !isFull else { throw SystemError(code: Errno.noBuffers, "connect to the name server") }
        let pair = try DescriptorPair.streamSockets()
        let own = try pair.first.duplicate(), other = try pair.second.duplicate().release()
        arrivals.withLock { $0.append(Arrival(raw: other, guest: guest)) }
        notification.signal()
        return own
    }

    /// Takes the oldest connection that was not taken yet.
    package func take() -> NameArrival? {
        let first: Arrival? = arrivals.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        guard let first else { return nil }
        return NameArrival(socket: Descriptor(adopting: first.raw), guest: first.guest)
    }
}

/// A guest's connection to the name server.
package struct NameArrival: ~Copyable {
    package let socket: Descriptor
    package let guest: IPv4Address

    /// Gives the socket away.
    package consuming func release() -> Descriptor { socket }
}
