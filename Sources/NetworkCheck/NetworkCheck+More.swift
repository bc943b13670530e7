// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

// The steps after the basic ones: DNS over TCP, and throughput.

extension NetworkCheck {
    /// Whether the name server answers over TCP (RFC 7766), which long answers need.
    func checkNameByTCP(_ lease: Guest.Lease) -> Finding {
        guard let server = lease.nameServers.first else { return .skipped("the network offers no name server") }
        let stream = GuestStream(guest, to: .ipv4(server), port: DNSMessage.port)
        switch stream.open() {
        case .accepted: break
        case .refused: return .skipped("\(server) does not answer over TCP: long answers are cut")
        case .unreachable(let report):
            return .failed(
                "the name server \(server) is unreachable over TCP: \(NetworkCheck.describe(report))",
                remedy: NetworkCheck.remedy(report, for: server))
        case .timedOut: return .skipped("\(server) ignores TCP: long answers are cut")
        }
        defer { stream.close() }
        let id: UInt16 = Random.value()
        let query = DNSMessage.query(id: id, DNSQuestion(name: options.name, type: DNSType.a))
        let answer = stream.request(DNSMessage.withLengthPrefix(query)) { bytes in
            bytes.count >= DNSMessage.lengthPrefix
                && bytes.count >= DNSMessage.lengthPrefix + DNSMessage.length(in: bytes.rawSpan)
        }
        guard let answer else {
            return .failed(
                "\(server) accepts TCP, and does not answer a query by it",
                remedy: "check whether the host can resolve it over TCP: dig +tcp \(options.name)")
        }
        let message = Array(answer.dropFirst(DNSMessage.lengthPrefix))
        guard let view = try? DNSView(message.rawSpan), view.isResponse, view.id == id else {
            return .failed("\(server) answers over TCP with another message", remedy: "check that server's log")
        }
        return .ok("\(server) answers over TCP")
    }

    /// Sends to a TCP server that reads and discards, and counts what it acknowledges.
    func checkThroughput(_ lease: Guest.Lease, _ advertisement: Guest.Advertisement?) -> Finding {
        guard let (sink, duration) = options.throughput else {
            return .skipped("no time and no server given (--seconds N --to ADDRESS:PORT)")
        }
        let peer: GuestStream.Peer
        switch sink.address {
        case .ipv4(let address):
            if let obstacle = obstacle(to: address, lease) { return obstacle.failure }
            peer = .ipv4(address)
        case .ipv6(let address):
            do throws(Obstacle) {
                let way = try way(to: address, advertisement)
                peer = .ipv6(address, from: way.source, by: way.hop)
            } catch {
                return error.failure
            }
        }
        let stream = GuestStream(guest, to: peer, port: sink.port)
        // In socat 1.7, TCP-LISTEN is of IPv4 only.
        let listener = sink.address.isIPv6 ? "TCP6-LISTEN" : "TCP-LISTEN"
        let failure = NetworkCheck.failure(
            stream.open(), at: sink.address, port: sink.port,
            server: "start a server that discards what it reads, such as: socat -u \(listener):\(sink.port) /dev/null")
        if let failure { return failure }
        defer { stream.close() }
        guard let result = stream.flood(for: duration, mtu: Int(lease.mtu ?? 1500)), result.bytes > 0 else {
            return .failed(
                "\(sink.address) port \(sink.port) ends the connection, or takes no data",
                remedy: "the server must read until the connection ends")
        }
        let megabits = Double(result.bytes) * 8 / Double(max(1, result.time.microseconds))
        return .ok(
            """
            \(NetworkCheck.rounded(megabits)) Mbit/s to \(sink.address), by one connection with a window of 64 KiB at \
            most
            """)
    }

    /// With one decimal.
    private static func rounded(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
