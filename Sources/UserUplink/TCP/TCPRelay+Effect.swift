// SPDX-License-Identifier: Apache-2.0
import Wire

extension TCPRelay {
    /// What the gateway is to send on behalf of the relay.
    enum Effect {
        /// An ICMP error: the connection cannot be made.
        /// - Parameters:
        ///   - sequence: of the guest's SYN.
        ///   - error: the positive errno of this host.
        case unreachable(TCPEndpoints, sequence: UInt32, error: Int32)
        /// An ARP request for a guest that a client of a published port wants to reach.
        case resolve(IPv4Address)
    }
}
