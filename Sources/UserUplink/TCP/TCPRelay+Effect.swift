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

    /// Looks up the hardware address of a guest that a client of a published port wants to reach.
    func resolve(_ connection: TCPConnection, _ neighbors: GuestNeighbors) {
        let address = connection.endpoints.key.guestAddress
        if let hardware = neighbors.hardware(of: address) {
            connection.endpoints.guestHardware = hardware
        } else {
            effects.append(.resolve(address))
        }
    }
}
