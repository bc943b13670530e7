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
}
