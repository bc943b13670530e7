// SPDX-License-Identifier: Apache-2.0

// Refused packets. With `logGroup` they are counted, and the beginnings of some are logged: the rate is limited per
// hardware address, so that a guest that floods does not hide the packets of others.

extension NATTable {
    /// The name of the counter.
    package static let refusalCounter = "refused"
    /// Guests whose rate is limited at a time.
    private static let guestLimit = 4096

    /// What is done with a packet that the policy refuses.
    var refusal: String { logGroup == nil ? NATTable.rejection : "goto refused" }

    /// The chain that `refusal` goes to. 20 packets of a guest, and 10 a second, are logged.
    var refusalChain: String {
        guard let logGroup, !isClosed else { return "" }
        return """
              counter \(NATTable.refusalCounter) { }
              set senders { typeof ether saddr; size \(NATTable.guestLimit); flags dynamic,timeout; timeout 1m; }
              chain refused {
                counter name \(NATTable.refusalCounter)
                update @senders { ether saddr limit rate 10/second burst 20 packets } log group \(logGroup)
                \(NATTable.rejection)
              }

            """
    }
}
