// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Uplinks
import Wire

// What the gateway says in its own name, and in that of others.

extension UserGateway {
    /// Whether a refusal may be told, of which there are so many a second: a flood is not answered by one, and takes
    /// none from other guests.
    mutating func mayTellRefusal(_ owner: GuestOwner, _ now: UInt64) -> Bool {
        if refusalSecond != now {
            refusalSecond = now
            refusals.removeAll()
        }
        guard refusals.hasRoom(for: owner) else { return false }
        refusals.add(owner)
        return true
    }

    /// Tells the guest that the policy stands in the way: "communication administratively prohibited" (RFC 1812 section
    /// 5.2.7.1).
    mutating func refuse(_ frame: RawSpan, now: UInt64) -> Verdict {
        guard let packet = try? IPv4View(frame.from(14)), mayTellRefusal(owner(of: packet.source), now) else {
            return .drop(.refused)
        }
        let quoted = packet.bytes.extracting(0..<min(packet.bytes.byteCount, packet.headerLength + 8)).copied()
        unreachable(code: 13, quoting: quoted, to: packet.source, MACAddress(frame.big64(at: 6) >> 16))
        return .drop(.refused)
    }

    /// Tells a guest that its connection cannot be made, for a reason that lies on the way: "network" or "host
    /// unreachable" (RFC 1122 section 3.2.2.1; RFC 4443 section 3.1).
    /// - Parameters:
    ///   - sequence: of its SYN.
    ///   - error: the positive errno of ours.
    mutating func tell(_ ends: TCPEnds, sequence: UInt32, error: Int32, now: UInt64) {
        guard let hardware = ends.hardware, mayTellRefusal(owner(of: ends.key), now) else { return }
        var segment = ByteWriter(capacity: 8)
        segment.put16(ends.key.guestPort)
        segment.put16(ends.key.remotePort)
        segment.put32(sequence)
        let isNetwork = error == Errno.networkUnreachable
        if ends.isIPv6 {
            guard let own = gateway6 else { return }
            var quoted = ByteWriter(capacity: 48)
            IPv6Header(source: ends.key.guest, destination: ends.key.remote, nextHeader: IPProtocol.tcp).emit(
                into: &quoted, payloadLength: 20)
            let header = IPv6Header(source: own, destination: ends.key.guest, nextHeader: IPProtocol.icmpv6)
            toGuests.append(
                NeighborDiscovery.frame(
                    header, from: options.hardware, to: hardware, type: 1, code: isNetwork ? 0 : 3,
                    body: [0, 0, 0, 0] + quoted.bytes + segment.bytes))
        } else {
            var quoted = ByteWriter(capacity: 28)
            IPv4Header(
                source: IPv4Address(UInt32(truncatingIfNeeded: ends.key.guest.low)),
                destination: IPv4Address(UInt32(truncatingIfNeeded: ends.key.remote.low)),
                protocolNumber: IPProtocol.tcp
            )
            .emit(into: &quoted, payloadLength: 20)
            unreachable(
                code: isNetwork ? 0 : 1, quoting: quoted.bytes + segment.bytes,
                to: IPv4Address(UInt32(truncatingIfNeeded: ends.key.guest.low)), hardware)
        }
    }

    /// "Destination unreachable" (RFC 792).
    private mutating func unreachable(
        code: UInt8, quoting quoted: [UInt8], to guest: IPv4Address, _ hardware: MACAddress
    ) {
        var writer = ByteWriter(capacity: 80)
        EthernetHeader(destination: hardware, source: options.hardware, type: EtherType.ipv4).emit(into: &writer)
        IPv4Header(source: options.network.gateway, destination: guest, protocolNumber: IPProtocol.icmp).emit(
            into: &writer, payloadLength: 8 + quoted.count)
        let start = writer.count
        writer.put16(0x0300 | UInt16(code))
        writer.put16(0)
        writer.put32(0)
        writer.put(quoted)
        writer.patch16(writer.checksum(from: start).finished, at: start + 2)
        toGuests.append(writer.bytes)
    }

    /// Asks the guests who has an address.
    /// - Parameter hardware: one of them that is asked alone.
    mutating func ask(for guest: IPv4Address, at hardware: MACAddress = .broadcast) {
        let question = ARPPacket(
            operation: .request, senderHardware: options.hardware, senderAddress: options.network.gateway,
            targetHardware: .zero, targetAddress: guest)
        if isGuest(guest) { toGuests.append(question.frame(to: hardware)) }
    }
}
