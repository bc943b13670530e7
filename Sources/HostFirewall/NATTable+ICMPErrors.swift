// SPDX-License-Identifier: Apache-2.0

// ICMP errors of guests. An error quotes the packet that it is about. The kernel believes it, whatever interface it
// comes in by: it lowers the MTU of a path, and fails the operations of a UDP socket. A guest could quote connections
// of the host and of its other networks, and guess or learn their ports.
//
// An error from the TAP passes if the connection that it quotes passes this TAP. Routers behind guests report errors
// too, so that addresses do not decide it. Every packet that comes in or leaves by the TAP marks its connection, by
// bits of the conntrack label. Conntrack gives an ICMP error the label of the connection that it quotes, and no label
// if it has none, or if the error is not addressed to the sender of the quoted packet.
//
// Errors mark nothing: a guest would mark the connection that it quotes. Conntrack decides what an error is, after
// headers too that nft does not look behind: the state of an error is `related` or `invalid`. The first packet of a
// connection that a helper of conntrack expects is `related` as well, and its next ones mark it.
//
// No other packet of a guest belongs to a connection of the host's global addresses beyond the TAP, as `ingressRules`
// drop forged sources before conntrack. The chains come before destination NAT, routing, and the policy.
//
// Packets of established connections mark these as well. A TAP has another index after a restart.

extension NATTable {
    /// IPv4's errors, with redirects (RFC 792), and IPv6's (RFC 4443 section 2.1). Redirects of IPv6 belong to
    /// neighbour discovery, and the switch drops those of guests.
    private static let errors = ["icmp type { 3, 4, 5, 11, 12 }", "icmpv6 type < 128"]

    var errorChains: String {
        guard hasConnectionLabels else { return "" }
        let bits = ConnectionLabel.bits(ofTAP: index)
        let mark = "ct state new,established " + bits.map { "ct label set \($0)" }.joined(separator: " ")
        let isMarked = bits.map { "ct label \($0)" }.joined(separator: " ")
        let known = NATTable.errors.map { "    \($0) goto errors\n" }.joined()
        return """
              chain errors {
                \(isMarked) accept
                drop
              }
              chain arrivals {
                type filter hook prerouting priority mangle; policy accept;
                iif != \(index) accept
            \(known)    \(mark)
              }
              chain departures {
                type filter hook postrouting priority mangle; policy accept;
                oif != \(index) accept
                \(mark)
              }

            """
    }
}
