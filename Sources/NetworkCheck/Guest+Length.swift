// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

// Probes of the longest packets that pass, by pings that no router may fragment (RFC 1191).

extension Guest {
    /// What became of a ping of a certain length.
    package enum LengthAnswer: Equatable {
        /// The reply has the same length.
        case answered
        /// A router has reported the MTU of the next link; 0 if its report has none.
        case tooLong(mtu: Int, reporter: IPAddress)
        case unreachable(UnreachableReport)
        case silent
    }

    /// Pings `target` with a packet of `length` bytes, header included.
    package func ping(_ target: IPv4Address, length: Int, attempts: Int) -> LengthAnswer {
        let identifier: UInt16 = Random.value()
        let payload = [UInt8](repeating: 0x55, count: max(0, length - IPv4Header.length - ICMPHeader.length))
        var echo = ByteWriter()
        ICMPEcho(kind: .request, identifier: identifier, sequence: 1, payload: payload).emit(into: &echo)
        guard let frame = packet(to: target, protocolNumber: IPProtocol.icmp, echo.bytes) else { return .silent }
        return exchange(frame, attempts: attempts, timeout: .seconds(1)) { frame -> LengthAnswer? in
            let ethernet = try EthernetView(frame)
            guard ethernet.type == EtherType.ipv4 else { return nil }
            let ip = try IPv4View(ethernet.payload)
            guard ip.protocolNumber == IPProtocol.icmp else { return nil }
            if ip.source == target, let reply = try? ICMPEcho(parsing: ip.payload), reply.kind == .reply,
                reply.identifier == identifier
            {
                return reply.payload.count == payload.count ? .answered : nil
            }
            guard let report = try? ICMPUnreachable(parsing: ip.payload), report.destination == target,
                report.protocolNumber == IPProtocol.icmp
            else { return nil }
            if report.code == ICMPUnreachableCode.fragmentationNeeded {
                let mtu = ip.payload.big16(at: ICMPHeader.Field.nextHopMTU)
                return .tooLong(mtu: Int(mtu), reporter: .ipv4(ip.source))
            }
            return .unreachable(UnreachableReport(reporter: .ipv4(ip.source), code: report.code))
        } ?? .silent
    }

    /// The same over IPv6, whose routers fragment no packet (RFC 8201).
    package func ping(
        _ target: IPv6Address, from source: IPv6Address, by hop: MACAddress, length: Int, attempts: Int
    ) -> LengthAnswer {
        let identifier: UInt16 = Random.value()
        let payload = [UInt8](repeating: 0x55, count: max(0, length - IPv6Header.length - ICMPHeader.length))
        let frame = echo(to: target, from: source, by: hop, identifier: identifier, payload)
        return exchange6(frame, attempts: attempts, own: source) { _, ip, message -> LengthAnswer? in
            guard ip.nextHeader == IPProtocol.icmpv6 else { return nil }
            let view = try ICMPv6View(message)
            if view.type == ICMPv6Type.echoReply, ip.source == target, view.identifier == identifier {
                return view.payload.byteCount == payload.count ? .answered : nil
            }
            guard let quoted = QuotedPacket6(view), quoted.destination == target,
                quoted.nextHeader == IPProtocol.icmpv6
            else { return nil }
            if view.type == ICMPv6Type.packetTooBig {
                return .tooLong(mtu: Int(view.nextLinkMTU), reporter: .ipv6(ip.source))
            }
            return Guest.report(view, by: ip.source).map { .unreachable($0) }
        } ?? .silent
    }

    /// The length of the longest packet that is answered, in bytes.
    /// - Parameters:
    ///   - shortest: of a packet that is answered.
    ///   - longest: of a packet that is not.
    ///   - ping: sends a packet of this length, once.
    package static func longestAnswered(
        between shortest: Int, and longest: Int, _ ping: (Int) -> LengthAnswer
    ) -> Int {
        var low = shortest, high = longest
        while high - low > 1 {
            let middle = (low + high) / 2
            if ping(middle) == .answered { low = middle } else { high = middle }
        }
        return low
    }
}
