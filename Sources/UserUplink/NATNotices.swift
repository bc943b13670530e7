// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

/// Why a client of a published port was refused on behalf of its guest, or its datagram dropped.
enum UnreachedGuest: Sendable, CustomStringConvertible {
    /// No guest answers ARP or neighbor solicitations at the address.
    case absent(IPAddress, port: UInt16, PublishedPort.Transport)
    /// The port follows a guest that has no lease.
    case noLease(hostPort: UInt16, PublishedPort.Transport)

    var description: String {
        switch self {
        case .absent(let guest, let port, let transport):
            """
            a \(UnreachedGuest.fate(transport, "published port for \(guest.hostText):\(port)")): no guest answers at \
            \(guest); start the guest, or correct --publish
            """
        case .noLease(let port, let transport):
            """
            a \(UnreachedGuest.fate(transport, "published port \(port)")): its guest has no lease; start the guest, or \
            correct --publish
            """
        }
    }

    private static func fate(_ transport: PublishedPort.Transport, _ port: String) -> String {
        switch transport {
        case .tcp: "client of the \(port)/tcp was refused"
        case .udp: "datagram for the \(port)/udp was dropped"
        }
    }
}

/// What the NAT reports to the control thread: clients of published ports that have not reached their guest, and that
/// pings are not permitted, and that much memory was freed.
final class NATNotices: Sendable {
    /// What is to be reported.
    struct Content: Sendable {
        /// The last client that has not reached its guest, and how many there were.
        var unreached: (last: UnreachedGuest, count: Int)?
        /// The system has refused a socket for pings.
        var arePingsForbidden = false
        /// Memory was freed that the C library may keep.
        var hasFreedMemory = false
    }

    private let content = Mutex<Content?>(nil)
    /// Readable while there is something to take.
    let notification: Wakeup

    /// - Throws: if the host does not give the descriptors of the notification.
    init() throws(SystemError) { notification = try Wakeup() }

    private func change(_ body: (inout Content) -> Void) {
        let isFirst = content.withLock { content in
            let isFirst = content == nil
            var changed = content ?? Content()
            body(&changed)
            content = changed
            return isFirst
        }
        if isFirst { notification.signal() }
    }

    /// Notes clients that have not reached their guest: the last one, and how many there were.
    func note(unreached last: UnreachedGuest, _ count: Int) {
        change { $0.unreached = (last, ($0.unreached?.count ?? 0) + count) }
    }

    /// Notes that the system has refused a socket for pings.
    func notePingsForbidden() { change { $0.arePingsForbidden = true } }

    /// Notes that much memory was freed.
    func noteFreedMemory() { change { $0.hasFreedMemory = true } }

    /// Removes and returns what is to be reported.
    func take() -> Content? {
        notification.drain()
        return content.withLock { content in
            defer { content = nil }
            return content
        }
    }
}
