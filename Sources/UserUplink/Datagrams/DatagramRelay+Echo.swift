// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

// Pings: ICMP echo of IPv4 and IPv6, by sockets that need no privilege. The kernel gives each socket an identifier of
// its own, and delivers the replies with that one. Sequence numbers and data pass as they are.

extension DatagramRelay {
    /// Whether a ping is for the gateway itself.
    private func isForGateway(_ key: FlowKey) -> Bool {
        key.isIPv6
            ? key.remote == policy.gateway6 || key.remote == policy.linkLocal : key.remote == policy.gatewayKey
    }

    /// Replies to a ping of the gateway. Returns false if it is for another host.
    func answerPing(_ frame: RawSpan, _ inbound: InboundDatagram) -> Bool {
        guard isForGateway(inbound.key) else { return false }
        let header = DatagramHeader(key: inbound.key, hardware: inbound.hardware, gatewayHardware: gatewayHardware)
        let type = inbound.key.isIPv6 ? ICMPv6Type.echoReply : ICMPType.echoReply
        let reply = message(frame.extracting(inbound.range), inbound.key, type: type, from: inbound.key.remote)
        header.append(reply.rawSpan, to: output, mtu: mtu)
        return true
    }

    /// Sends the reply to a ping to a guest.
    func deliverReply(_ payload: RawSpan, _ key: FlowKey, _ hardware: MACAddress, hops: UInt8, _ trafficClass: UInt8) {
        let type = key.isIPv6 ? ICMPv6Type.echoReply : ICMPType.echoReply
        guard payload.byteCount >= ICMPHeader.length, payload.byte(at: ICMPHeader.Field.type) == type else { return }
        let reply = message(payload, key, type: type, from: key.remote)
        deliver(reply.rawSpan, key, hardware, hops: hops, trafficClass)
    }

    /// An echo message with the guest's identifier and a checksum to match.
    /// - Parameter source: the sender of the message.
    private func message(_ bytes: RawSpan, _ key: FlowKey, type: UInt8, from source: IPv6Address) -> [UInt8] {
        var message = bytes.copied()
        message.withMutableRawSpan { span in
            span.put8(type, at: ICMPHeader.Field.type)
            span.put16(key.guestPort, at: ICMPHeader.Field.identifier)
            span.put16(0, at: ICMPHeader.Field.checksum)
            var sum = InternetChecksum()
            if key.isIPv6 {
                let header = IPv6Header(source: source, destination: key.guest, nextHeader: IPProtocol.icmpv6)
                sum = header.pseudoHeader(length: span.byteCount)
            }
            sum.add(span.bytes)
            span.put16(sum.finished, at: ICMPHeader.Field.checksum)
        }
        return message
    }
}
