// SPDX-License-Identifier: Apache-2.0
import Uplinks
import Wire

// What the gateway says in its own name, and in that of others.

extension UserGateway {
    /// Whether a refusal may be told, of which there are so many a second: a flood is not answered by one.
    mutating func mayTellRefusal(_ now: UInt64) -> Bool {
        if refusalSecond != now { (refusalSecond, refusalBudget) = (now, 100) }
        refusalBudget -= 1
        return refusalBudget >= 0
    }

    /// Tells the guest that the policy stands in the way: "communication administratively prohibited" (RFC 1812 section 5.2.7.1).
    mutating func refuse(_ frame: RawSpan, now: UInt64) -> Verdict {
        guard mayTellRefusal(now), let packet = try? IPv4View(frame.from(14)) else { return .drop(.refused) }
        let quoted = packet.bytes.extracting(0..<min(packet.bytes.byteCount, packet.headerLength + 8))
        var writer = ByteWriter(capacity: 80)
        EthernetHeader(destination: MACAddress(frame.big64(at: 6) >> 16), source: options.hardware, type: EtherType.ipv4).emit(into: &writer)
        IPv4Header(source: options.network.gateway, destination: packet.source, protocolNumber: IPProtocol.icmp).emit(into: &writer, payloadLength: 8 + quoted.byteCount)
        let start = writer.count
        writer.put16(0x030d)
        writer.put16(0)
        writer.put32(0)
        writer.put(quoted.copied())
        writer.patch16(writer.checksum(from: start).finished, at: start + 2)
        toGuests.append(writer.bytes)
        return .drop(.refused)
    }

    /// Ends a conversation for both sides, for it had to make room.
    mutating func end(_ flow: FlowTable.Flow) {
        guard flow.key.protocolNumber == IPProtocol.tcp else { return }
        let key = flow.key
        let isIPv6 = key.guest.high != 0
        func reset(from guest: Bool) -> [UInt8] {
            var port = key.remotePort
            if !guest, port == options.namePort, key.remote.low == UInt64(options.network.gateway.value) { port = 53 }
            var segment = TCPSegment(
                sourcePort: guest ? key.guestPort : port, destinationPort: guest ? port : key.guestPort, sequence: guest ? flow.guestNext : flow.remoteNext, flags: [.rst, .ack])
            segment.acknowledgment = guest ? flow.remoteNext : flow.guestNext
            var writer = ByteWriter(capacity: 80)
            EthernetHeader(destination: guest ? options.hardware : flow.hardware, source: guest ? flow.hardware : options.hardware, type: isIPv6 ? EtherType.ipv6 : EtherType.ipv4).emit(into: &writer)
            if isIPv6 {
                let header = IPv6Header(source: guest ? key.guest : key.remote, destination: guest ? key.remote : key.guest, nextHeader: IPProtocol.tcp)
                header.emit(into: &writer, payloadLength: 20)
                segment.emit(into: &writer, header.pseudoHeader(length: 20))
            } else {
                let own = IPv4Address(UInt32(truncatingIfNeeded: key.guest.low)), other = IPv4Address(UInt32(truncatingIfNeeded: key.remote.low))
                IPv4Header(source: guest ? own : other, destination: guest ? other : own, protocolNumber: IPProtocol.tcp).emit(into: &writer, payloadLength: 20)
                segment.emit(into: &writer, source: guest ? own : other, destination: guest ? other : own)
            }
            return writer.bytes
        }
        toStack.append(reset(from: true))
        toGuests.append(reset(from: false))
    }
}
