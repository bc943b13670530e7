// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Hands guests' DNS connections over TCP from the thread that terminates them to the control thread, where the DNS
/// proxy runs: one end of a socket pair each, with the guest's address. No socket listens on the host for that.
package final class DNSConnectionQueue: Sendable {
    /// Connections that the control thread has not taken yet.
    private static let capacity = 64
    /// Those of one guest address: as many as the proxy serves. Clients that open them at once do not wait for their
    /// second SYN, which comes after a second.
    private static let capacityPerGuest = 16

    private struct Entry: Sendable {
        /// Owned by the queue.
        let raw: Int32
        let guest: IPv6Address
        let hardware: MACAddress?
    }

    private let entries = Mutex<[Entry]>([])
    /// Readable while there is something to take.
    package let notification: Wakeup

    /// - Throws: if the host does not give the descriptors of the notification.
    package init() throws(SystemError) { notification = try Wakeup() }

    deinit {
        while take() != nil {}
    }

    /// Opens a connection of a guest to the DNS proxy. The caller owns the guest's end.
    /// - Throws: "no buffers" if the queue is full; the guest sends its SYN again.
    func connect(of endpoints: TCPEndpoints) throws(SystemError) -> Descriptor {
        let guest = endpoints.key.guest
        let isFull = entries.withLock {
            $0.count >= DNSConnectionQueue.capacity
                || $0.count { $0.guest == guest } >= DNSConnectionQueue.capacityPerGuest
        }
        guard !isFull else { throw SystemError(code: Errno.noBuffers, "connect to the DNS proxy") }
        let pair = try DescriptorPair.streamSockets()
        let guestEnd = try pair.first.duplicate(), proxyEnd = try pair.second.duplicate().release()
        entries.withLock { $0.append(Entry(raw: proxyEnd, guest: guest, hardware: endpoints.guestHardware)) }
        notification.signal()
        return guestEnd
    }

    /// Takes the oldest connection; nil if there is none.
    package func take() -> QueuedDNSConnection? {
        let first: Entry? = entries.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        guard let first else { return nil }
        return QueuedDNSConnection(
            socket: Descriptor(adopting: first.raw), guest: first.guest, hardware: first.hardware)
    }
}

/// A guest's connection to the DNS proxy.
package struct QueuedDNSConnection: ~Copyable {
    /// The proxy's end.
    package let socket: Descriptor
    /// The guest's address, an IPv4 address in the low bits.
    package let guest: IPv6Address
    /// The guest's hardware address, as in the frame that opened the connection.
    package let hardware: MACAddress?

    /// Hands the socket over to the caller.
    package consuming func release() -> Descriptor { socket }
}
