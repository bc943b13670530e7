// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

extension TCPRelay {
    /// What the gateway is to send on behalf of the relay.
    enum Effect {
        /// An ICMP error: the connection cannot be made.
        /// - Parameters:
        ///   - sequence: of the guest's SYN.
        ///   - failure: one that is reported by ICMP.
        case unreachable(TCPEndpoints, sequence: UInt32, failure: ConnectFailure)
        /// The ICMP error of a router about the guest's SYN, whose sequence number this is.
        case failed(TCPEndpoints, sequence: UInt32, DatagramFailure.Message)
        /// A request for the hardware address of a guest that a client of a published port connects to.
        case resolve(IPAddress)
    }

    /// Ends a connection that could not be made, given the positive errno.
    func connectFailed(_ connection: TCPConnection, _ error: Int32) {
        if connection.isProbe, let message = connection.socket?.takeDatagramFailure()?.message,
            DatagramError.isPassed(message)
        {
            effects.append(.failed(connection.endpoints, sequence: connection.irs, message))
            return connection.resetSocket(&context)
        }
        let failure = ConnectFailure(error)
        switch failure {
        case .network, .host, .prohibited:
            effects.append(.unreachable(connection.endpoints, sequence: connection.irs, failure: failure))
            connection.resetSocket(&context)
        case .refused: connection.reset(&context)
        case .silence: connection.resetSocket(&context)
        }
    }

    /// Answers a SYN for which there is no socket, given the positive errno.
    func refuse(_ syn: borrowing TCPView, _ endpoints: TCPEndpoints, _ error: Int32) {
        let failure = ConnectFailure(error)
        switch failure {
        case .network, .host, .prohibited:
            effects.append(.unreachable(endpoints, sequence: syn.sequence, failure: failure))
        case .refused: context.sendReset(inReplyTo: syn, endpoints)
        case .silence: break
        }
    }

}
