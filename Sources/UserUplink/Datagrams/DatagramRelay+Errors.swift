// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

// Datagrams that did not arrive, and what guests are sent about them.

extension DatagramRelay {
    /// What the gateway is to send on behalf of the relay.
    enum Effect: Sendable {
        case error(DatagramError)
        /// A request for the hardware address of a guest that a client of a published port sends to.
        case resolve(IPAddress)
    }

    /// The guest's end of a flow or listener, with the remote end that `peer` is.
    private func key(of socket: DatagramSocket, _ peer: SocketAddress) -> (FlowKey, MACAddress?)? {
        if let flow = socket as? DatagramFlow {
            guard let remote = policy.visibleAddress(of: peer), remote.isIPv6 == flow.key.isIPv6 else { return nil }
            let key = FlowKey(
                flow.key.protocolNumber, guest: flow.key.guestAddress, flow.key.guestPort, remote: remote, peer.port)
            return (key, flow.hardware)
        }
        guard let index = listeners.firstIndex(where: { $0 === socket }) else { return nil }
        return clients.key(of: peer, at: index).map { ($0, nil) }
    }

    /// Takes the errors that a socket has kept, and reports those of ICMP to the guest.
    /// - Returns: how many there were, and the MTU of this host's own, which concerns the datagram that was just sent.
    func takeErrors(of socket: DatagramSocket) -> (count: Int, mtu: UInt32) {
        var count = 0, mtu: UInt32 = 0
        while count < 32, let failure = socket.socket.takeDatagramFailure() {
            count += 1
            guard let message = failure.message else {
                if failure.code == Errno.messageTooLong { mtu = failure.mtu }
                continue
            }
            guard DatagramError.isPassed(message), let (key, hardware) = key(of: socket, failure.peer) else { continue }
            effects.append(
                .error(
                    DatagramError(
                        key: key, hardware: hardware,
                        sender: message.sender.flatMap { policy.visibleAddress(of: $0) }, type: message.type,
                        code: message.code, mtu: failure.mtu, hops: 1,
                        payload: socket.firstDatagram(of: failure.payload))))
        }
        return (count, mtu)
    }

    /// Reports a datagram that this host could not send.
    /// - Parameters:
    ///   - error: the positive errno.
    ///   - mtu: of the path, if that was the reason and is known.
    func sendingFailed(_ pending: Pending, _ payload: RawSpan, _ error: Int32, mtu: UInt32) {
        let isIPv6 = pending.key.isIPv6
        func report(_ type: UInt8, _ code: UInt8, mtu: UInt32 = 0) {
            effects.append(
                .error(
                    DatagramError(
                        key: pending.key, hardware: pending.hardware, sender: nil, type: type, code: code, mtu: mtu,
                        hops: pending.hops,
                        payload: payload.extracting(0..<min(payload.byteCount, IPv6Header.minimumMTU)).copied())))
        }
        if error == Errno.messageTooLong {
            // A system that does not report the MTU: the shortest that applications count on.
            let known = mtu > 0 ? mtu : UInt32(isIPv6 ? IPv6Header.minimumMTU : IPv4Header.minimumReassembly)
            return isIPv6
                ? report(ICMPv6Type.packetTooBig, 0, mtu: known)
                : report(
                    ICMPType.destinationUnreachable, ICMPUnreachableCode.fragmentationNeeded, mtu: known)
        }
        let failure = ConnectFailure(error)
        switch failure {
        case .network, .host, .prohibited:
            report(
                isIPv6 ? ICMPv6Type.destinationUnreachable : ICMPType.destinationUnreachable,
                isIPv6 ? failure.icmpv6Code : failure.icmpCode)
        case .refused, .silence: drops[.unsent, default: 0] += 1
        }
    }

    /// Reports a datagram for which there is no socket.
    func refuse(_ frame: RawSpan, _ inbound: InboundDatagram, _ error: Int32) {
        let pending = Pending(key: inbound.key, hardware: inbound.hardware, hops: inbound.hops)
        sendingFailed(pending, frame.extracting(inbound.range), error, mtu: 0)
    }
}

/// An error about a datagram of a guest, to be sent to it by ICMP.
struct DatagramError: Sendable {
    /// Guest and remote end of the datagram.
    let key: FlowKey
    /// The guest's; nil if only the gateway has it.
    let hardware: MACAddress?
    /// The router or host that has found the error; nil for the gateway.
    let sender: IPAddress?
    /// Of the ICMP message.
    let type: UInt8
    let code: UInt8
    /// The path's, if the datagram was too long for it.
    let mtu: UInt32
    /// The datagram's TTL or hop limit where the error was found.
    let hops: UInt8
    /// The start of the datagram, without its UDP header.
    let payload: [UInt8]

    /// Whether guests get such an error. Redirects concern this host, and others are no errors.
    static func isPassed(_ message: DatagramFailure.Message) -> Bool {
        message.isIPv6
            ? message.type < ICMPv6Type.firstInformational
            : [ICMPType.destinationUnreachable, ICMPType.timeExceeded, ICMPType.parameterProblem]
                .contains(message.type)
    }
}
