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
        case tooLong(mtu: Int, reporter: IPv4Address)
        case unreachable(UnreachableReport)
        case silent
    }

    /// Pings `target` with a packet of `length` bytes, header included.
    package func ping(_ target: IPv4Address, length: Int, attempts: Int = 2) -> LengthAnswer {
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
                return .tooLong(mtu: Int(mtu), reporter: ip.source)
            }
            return .unreachable(UnreachableReport(reporter: ip.source, code: report.code))
        } ?? .silent
    }

    /// The length of the longest packet that `target` answers, in bytes.
    /// - Parameters:
    ///   - shortest: of a packet that it answers.
    ///   - longest: of a packet that it does not answer.
    package func longestAnswered(_ target: IPv4Address, between shortest: Int, and longest: Int) -> Int {
        var low = shortest, high = longest
        while high - low > 1 {
            let middle = (low + high) / 2
            if ping(target, length: middle, attempts: 1) == .answered { low = middle } else { high = middle }
        }
        return low
    }
}
