// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

extension TCPRelay {
    /// What the gateway is to send on behalf of the relay.
    enum Effect {
        /// An ICMP error: the connection cannot be made.
        /// - Parameters:
        ///   - sequence: of the guest's SYN.
        ///   - error: the positive errno of this host.
        case unreachable(TCPEndpoints, sequence: UInt32, error: Int32)
        /// A request for the hardware address of a guest that a client of a published port wants to reach.
        case resolve(IPAddress)
    }

    /// Reported to the guest by ICMP; a refusal is reported by RST.
    static func isUnreachable(_ error: Int32) -> Bool {
        [Errno.networkUnreachable, Errno.hostUnreachable, Errno.timedOut].contains(error)
    }

    /// A lack of descriptors or memory is not reported: the guest sends its SYN again.
    static func isShortage(_ error: Int32) -> Bool {
        [Errno.tooManyFiles, Errno.tableFull, Errno.noBuffers].contains(error)
    }

    /// Looks for the guest that a client of a published port wants to reach. Resets the client if it is not there.
    func searchGuest(of connection: TCPConnection, _ neighbors: GuestNeighbors) {
        guard var presence = connection.presence else { return }
        let address = connection.endpoints.key.guestAddress
        if connection.endpoints.guestHardware == nil, let hardware = neighbors.hardware(of: address) {
            connection.endpoints.guestHardware = hardware
            // The SYNs before were not sent.
            connection.retries = 0
            connection.timer = context.now
        }
        guard presence.deadline <= context.now else { return }
        switch presence.look(lastSeen: neighbors.lastSeen(of: address), now: context.now) {
        case .present: connection.presence = nil
        case .search(let requests):
            connection.presence = presence
            if requests { effects.append(.resolve(address)) }
        case .absent:
            context.note(unreached: .absent(address, port: connection.endpoints.key.guestPort))
            connection.resetSocket(&context)
        }
    }
}
