// SPDX-License-Identifier: Apache-2.0

// Refused packets. The sender of a TCP segment gets a reset, the sender of another packet an ICMP error.
//
// A policy that becomes stricter refuses packets of open connections. The guest's next segment is refused, which resets
// the guest and marks the connection by a bit of its conntrack label. With the mark, the rules answer the other side's
// next segment with a reset as well. Without it, that side would wait until its own timeouts.
//
// Refused packets are counted. Allowed ones do not pass the counter. With `logGroup`, the beginnings of some refused
// ones are logged: the rate is limited per hardware address, so that a guest that floods does not hide the packets of
// others. The chain `reports` has the rule for that and nothing else, so that `reportScript` begins and ends the log
// without a replacement of the table: counters, pins and connections stay as they are.

extension NATTable {
    /// The name of the counter.
    package static let refusalCounter = "refused"
    /// Guests whose rate is limited at a time.
    private static let guestLimit = 4096
    /// Matches TCP, whose name nft would look up in /etc/protocols.
    static let tcp = "meta l4proto 6"

    /// What is done with a packet that the policy refuses.
    var refusal: String { "goto refused" }

    /// The chains that `refusal` goes to.
    var refusalChains: String {
        guard !isClosed else { return "" }
        let mark = hasConnectionLabels ? "    ct label set \(ConnectionLabel.refused)\n" : ""
        var objects = "", counting = ""
        if countsRefusals {
            objects += "  counter \(NATTable.refusalCounter) { }\n"
            counting = "    counter name \(NATTable.refusalCounter)\n"
        }
        if logGroup != nil { objects += "  set senders { \(NATTable.senders) }\n" }
        return """
              chain rejected {
            \(mark)    \(NATTable.tcp) reject with tcp reset
                reject with icmpx admin-prohibited
              }
            \(objects)  chain reports {
            \(reportRule.map { "    \($0)\n" } ?? "")  }
              chain refused {
            \(counting)    jump reports
                goto rejected
              }

            """
    }

    /// The guests whose packets are logged.
    private static let senders =
        "typeof ether saddr; size \(guestLimit); flags dynamic,timeout; timeout 1m;"

    /// 20 packets of a guest, and 10 a second, are logged.
    private var reportRule: String? {
        logGroup.map { "update @senders { ether saddr limit rate 10/second burst 20 packets } log group \($0)" }
    }

    /// Begins the log of refused packets as `logGroup` has it, or ends it, in the table that exists.
    package var reportScript: String {
        guard !isClosed else { return "" }
        let flush = "flush chain inet \(table) reports\n"
        guard let reportRule else { return flush + "delete set inet \(table) senders\n" }
        return "add set inet \(table) senders { \(NATTable.senders) }\n" + flush
            + "add rule inet \(table) reports \(reportRule)\n"
    }

    /// Resets the side that has not begun a refused connection. The resets themselves pass.
    /// - Parameter interface: matches packets to that side.
    func resetRules(_ interface: String) -> [String] {
        guard hasConnectionLabels else { return [] }
        let match = "\(interface) ct direction reply ct label \(ConnectionLabel.refused) tcp flags & rst == 0"
        return ["\(match) reject with tcp reset"]
    }
}
