// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

// The steps of IPv6: an address, the router, its name server, and the outside.

extension NetworkCheck {
    /// IPv6: an address by a router's advertisement, the router, its name servers, and the outside.
    /// - Returns: what the router advertises.
    func checkIPv6(_ lease: Guest.Lease) -> Guest.Advertisement? {
        var found: Guest.Advertisement?
        var answersPing = false
        step("ipv6") {
            let advertisement = guest.solicitRouter()
            guard let advertisement, let address = advertisement.address else {
                let lack = advertisement.map { "\($0.router) advertises no prefix for addresses" }
                lackOfIPv6 = lack ?? "no router advertises IPv6"
                return .skipped(lackOfIPv6!)
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
            answersPing = true
            return .ok("\(found.router) answers")
        }
        step("mtu6") { checkMTU6(found, lease, isRouterThere: answersPing) }
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
        step("tcp6") { checkConnection6(found) }
        step("path6") { checkPath6(found, lease) }
        return found
    }

    /// Bytes of a ping without data.
    private static let shortPing6 = IPv6Header.length + ICMPHeader.length

    /// The MTU of the guest's link: the router's, or else that of the lease.
    private func linkMTU(_ found: Guest.Advertisement, _ lease: Guest.Lease) -> Int {
        found.mtu ?? Int(lease.mtu ?? 1500)
    }

    /// Whether packets of the guest's MTU pass to the router and back.
    private func checkMTU6(_ found: Guest.Advertisement?, _ lease: Guest.Lease, isRouterThere: Bool) -> Finding {
        guard let found else { return .skipped("no IPv6") }
        guard isRouterThere else { return .skipped("the router does not answer pings") }
        let mtu = linkMTU(found, lease), source = guest.linkLocal
        func ping(_ length: Int, _ attempts: Int) -> Guest.LengthAnswer {
            guest.ping(found.router, from: source, by: found.hardware, length: length, attempts: attempts)
        }
        if ping(mtu, 2) == .answered { return .ok("packets of \(mtu) bytes pass to \(found.router) and back") }
        let longest = Guest.longestAnswered(between: NetworkCheck.shortPing6, and: mtu) { ping($0, 1) }
        return .failed(
            "of \(mtu) bytes, packets of \(longest) pass to \(found.router) and back",
            remedy: longest < IPv6Header.minimumMTU
                ? "IPv6 needs an MTU of \(IPv6Header.minimumMTU) bytes: raise that of every part of the network"
                : "give every part of the network the same MTU, such as --vmnet-mtu \(longest)")
    }

    /// The longest packet that passes to the destination of the TCP connection and back.
    private func checkPath6(_ found: Guest.Advertisement?, _ lease: Guest.Lease) -> Finding {
        guard let (target, _) = options.connect6 else { return .skipped("no address given (--tcp6 [ADDRESS]:PORT)") }
        guard let found else { return .skipped("no IPv6") }
        let address: IPv6Address, hop: MACAddress
        do throws(Obstacle) { (address, hop) = try way(to: target, found) } catch { return .skipped(error.cause) }
        func ping(_ length: Int, _ attempts: Int) -> Guest.LengthAnswer {
            guest.ping(target, from: address, by: hop, length: length, attempts: attempts)
        }
        guard ping(NetworkCheck.shortPing6, 2) == .answered else { return .skipped("\(target) does not answer pings") }
        let mtu = linkMTU(found, lease)
        switch ping(mtu, 2) {
        case .answered: return .ok("packets of \(mtu) bytes pass to \(target) and back")
        case .tooLong(let next, let reporter):
            return .ok("\(reporter) reports a path MTU of \(next) bytes to \(target)")
        case .unreachable(let report):
            return .failed(
                "\(target) is unreachable for packets of \(mtu) bytes: \(NetworkCheck.describe(report))",
                remedy: NetworkCheck.remedy(report, for: .ipv6(target)))
        case .silent:
            let longest = Guest.longestAnswered(between: NetworkCheck.shortPing6, and: mtu) { ping($0, 1) }
            return .failed(
                "packets above \(longest) bytes vanish on the way to \(target), and no router reports it",
                remedy: "a firewall drops ICMPv6: let \"packet too big\" through, or use --vmnet-mtu \(longest)")
        }
    }
}
