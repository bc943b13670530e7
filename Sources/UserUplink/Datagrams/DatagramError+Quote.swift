// SPDX-License-Identifier: Apache-2.0
import Wire

extension DatagramError {
    /// The guest's packet, made again from what is known of it. Its lengths and its checksum are those of the payload
    /// that is left, which is all of it unless the packet was longer than an ICMP error.
    var quotedPacket: [UInt8] {
        let isUDP = key.protocolNumber == IPProtocol.udp
        let length = payload.count + (isUDP ? UDPHeader.length : 0)
        var writer = ByteWriter(capacity: IPv6Header.length + length)
        var sum: InternetChecksum
        if key.isIPv6 {
            let header = IPv6Header(
                source: key.guest, destination: key.remote, nextHeader: key.protocolNumber, hopLimit: hops)
            header.emit(into: &writer, payloadLength: length)
            sum = header.pseudoHeader(length: length)
        } else {
            var header = IPv4Header(
                source: key.guestIPv4, destination: key.remoteIPv4, protocolNumber: key.protocolNumber)
            header.timeToLive = hops
            header.emit(into: &writer, payloadLength: length)
            sum = InternetChecksum.pseudoHeader(
                source: key.guestIPv4, destination: key.remoteIPv4, protocolNumber: key.protocolNumber, length: length)
        }
        guard isUDP else {
            // The host's kernel has sent another identifier.
            let start = writer.count
            writer.put(payload)
            guard payload.count >= ICMPHeader.length else { return writer.bytes }
            writer.patch16(key.guestPort, at: start + ICMPHeader.Field.identifier)
            writer.patch16(0, at: start + ICMPHeader.Field.checksum)
            let initial = key.isIPv6 ? sum : InternetChecksum()
            writer.patch16(
                writer.checksum(from: start, adding: initial).finished, at: start + ICMPHeader.Field.checksum)
            return writer.bytes
        }
        let start = writer.count
        writer.put16(key.guestPort)
        writer.put16(key.remotePort)
        writer.put16(UInt16(length))
        writer.put16(0)
        writer.put(payload)
        writer.patch16(writer.checksum(from: start, adding: sum).finishedForUDP, at: start + UDPHeader.Field.checksum)
        return writer.bytes
    }
}
