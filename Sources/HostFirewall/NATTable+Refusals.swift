// SPDX-License-Identifier: Apache-2.0

// Refused packets. The sender of a TCP segment gets a reset, the sender of another packet an ICMP error.
//
// A policy that becomes stricter refuses packets of open connections. The guest's next segment is refused, which resets
// the guest and marks the connection by a bit of its conntrack label. With the mark, the rules answer the other side's
// next segment with a reset as well. Without it, that side would wait until its own timeouts.
//
// Refused packets are counted. Allowed ones do not pass the counter. With `logGroup`, the beginnings of some refused
// ones are logged: the rate is limited per hardware address, so that a guest that floods does not hide the packets of
// others.

extension NATTable {
    /// The name of the counter.
    package static let refusalCounter = "refused"
    /// Guests whose rate is limited at a time.
    private static let guestLimit = 4096
    /// Matches TCP, whose name nft would look up in /etc/protocols.
    static let tcp = "meta l4proto 6"

    /// What is done with a packet that the policy refuses.
    var refusal: String { "goto refused" }

    /// The chains that `refusal` goes to. 20 packets of a guest, and 10 a second, are logged.
    var refusalChains: String {
        guard !isClosed else { return "" }
        let mark = hasConnectionLabels ? "    ct label set \(ConnectionLabel.refused)\n" : ""
        var objects = "", rules = ""
        if countsRefusals {
            objects += "  counter \(NATTable.refusalCounter) { }\n"
            rules += "    counter name \(NATTable.refusalCounter)\n"
        }
        if let logGroup {
            let form = "typeof ether saddr; size \(NATTable.guestLimit); flags dynamic,timeout; timeout 1m;"
            objects += "  set senders { \(form) }\n"
            rules += "    update @senders { ether saddr limit rate 10/second burst 20 packets } log group \(logGroup)\n"
        }
        return """
              chain rejected {
            \(mark)    \(NATTable.tcp) reject with tcp reset
                reject with icmpx admin-prohibited
              }
            \(objects)  chain refused {
            \(rules)    goto rejected
              }

            """
    }

    /// Resets the side that has not begun a refused connection. The resets themselves pass.
    /// - Parameter interface: matches packets to that side.
    func resetRules(_ interface: String) -> [String] {
        guard hasConnectionLabels else { return [] }
        let match = "\(interface) ct direction reply ct label \(ConnectionLabel.refused) tcp flags & rst == 0"
        return ["\(match) reject with tcp reset"]
    }
}
