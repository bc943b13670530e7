// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

// The steps after the basic ones: the longest packets, DNS over TCP, IPv6, and throughput.

extension NetworkCheck {
    /// Whether packets of the guest's MTU pass to the gateway and back.
    func checkMTU(_ lease: Guest.Lease, _ gateway: IPv4Address, isGatewayThere: Bool) -> Finding {
        guard isGatewayThere else { return .skipped("the gateway does not answer pings") }
        let mtu = Int(lease.mtu ?? 1500)
        if guest.ping(gateway, length: mtu) == .answered {
            return .ok("packets of \(mtu) bytes pass to \(gateway) and back")
        }
        let longest = guest.longestAnswered(gateway, between: NetworkCheck.shortPing, and: mtu)
        return .failed(
            "of \(mtu) bytes, packets of \(longest) pass to \(gateway) and back",
            remedy: "give every part of the network the same MTU, such as --vmnet-mtu \(longest)")
    }

    /// Bytes of a packet that `ping` sends.
    private static let shortPing = IPv4Header.length + ICMPHeader.length

    /// The longest packet that passes to the destination of the TCP connection and back.
    func checkPath(_ lease: Guest.Lease) -> Finding {
        guard let (address, _) = options.connect else { return .skipped("no address given (--tcp ADDRESS:PORT)") }
        if !lease.network.contains(address) && lease.router == nil { return .skipped("the network has no router") }
        guard guest.ping(address, length: NetworkCheck.shortPing) == .answered else {
            return .skipped("\(address) does not answer pings")
        }
        let mtu = Int(lease.mtu ?? 1500)
        switch guest.ping(address, length: mtu) {
        case .answered: return .ok("packets of \(mtu) bytes pass to \(address) and back")
        case .tooLong(let next, let reporter):
            return .ok("\(reporter) reports a path MTU of \(next) bytes to \(address)")
        case .unreachable(let report):
            return .failed(
                "\(address) is unreachable for packets of \(mtu) bytes: \(NetworkCheck.describe(report))",
                remedy: NetworkCheck.remedy(report, for: address))
        case .silent:
            let longest = guest.longestAnswered(address, between: NetworkCheck.shortPing, and: mtu)
            return .failed(
                "packets above \(longest) bytes vanish on the way to \(address), and no router reports it",
                remedy: "a firewall drops ICMP: let \"fragmentation needed\" through, or use --vmnet-mtu \(longest)")
        }
    }

    /// Whether the name server answers over TCP (RFC 7766), which long answers need.
    func checkNameByTCP(_ lease: Guest.Lease) -> Finding {
        guard let server = lease.nameServers.first else { return .skipped("the network offers no name server") }
        let stream = GuestStream(guest, to: server, port: DNSMessage.port)
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

    /// IPv6: an address by a router's advertisement, the router, its name servers, and the outside.
    func checkIPv6() {
        var found: Guest.Advertisement?
        step("ipv6") {
            guard let advertisement = guest.solicitRouter() else { return .skipped("no router advertises IPv6") }
            guard let address = advertisement.address else {
                return .skipped("\(advertisement.router) advertises no prefix for addresses")
            }
            found = advertisement
            let exit = advertisement.isDefaultRouter ? "" : ", which is no default router"
            return .ok("\(address) by \(advertisement.router)\(exit)")
        }
        step("ping6") {
            guard let found else { return .skipped("no IPv6") }
            guard guest.ping(found.router, from: nil, by: found.hardware) else {
                return .failed(
                    "\(found.router) does not answer ping",
                    remedy: "a firewall on the host may drop it: nft list ruleset | grep -A9 'hook input'")
            }
            return .ok("\(found.router) answers")
        }
        step("name6") {
            guard let found, let address = found.address else { return .skipped("no IPv6") }
            guard let server = found.nameServers.first else {
                return .skipped("the router names no name server over IPv6; guests use that of IPv4")
            }
            // A server on the link may be another station than the router.
            let isOnLink = server.isLinkLocal || server.high == address.high
            let hop = isOnLink ? guest.resolve(server, from: address) : found.hardware
            guard let hop else {
                return .failed("the name server \(server) answers no solicitation", remedy: "check whether it runs")
            }
            guard guest.queries(options.name, at: server, from: address, by: hop) else {
                return .failed("the name server \(server) does not answer", remedy: "check whether it runs")
            }
            return .ok("\(server) answers")
        }
        step("tcp6") {
            guard let (target, port) = options.connect6 else {
                return .skipped("no address given (--tcp6 [ADDRESS]:PORT)")
            }
            guard let found, let address = found.address else { return .skipped("no IPv6") }
            guard found.isDefaultRouter else { return .skipped("the network has no router for IPv6") }
            switch guest.connect(to: target, port: port, from: address, by: found.hardware) {
            case .accepted: return .ok("\(target) port \(port) accepts connections")
            case .refused:
                return .failed(
                    "\(target) refuses connections to port \(port)",
                    remedy: "nothing listens there: start the server, or try another port")
            case .timedOut, .unreachable:
                return .failed(
                    "\(target) port \(port) does not answer",
                    remedy: "check whether the host has IPv6: ip -6 route get \(target)")
            }
        }
    }

    /// Sends to a TCP server that reads and discards, and counts what it acknowledges.
    func checkThroughput(_ lease: Guest.Lease) -> Finding {
        guard let (sink, duration) = options.throughput else {
            return .skipped("no time and no server given (--seconds N --to ADDRESS:PORT)")
        }
        if !lease.network.contains(sink.address) && lease.router == nil { return .skipped("the network has no router") }
        let stream = GuestStream(guest, to: sink.address, port: sink.port)
        let answer = stream.open()
        guard answer == .accepted else {
            return .failed(
                "\(sink.address) port \(sink.port) does not accept the connection",
                remedy:
                    "start a server that discards what it reads, such as: socat -u TCP-LISTEN:\(sink.port) /dev/null")
        }
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
