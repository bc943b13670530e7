// SPDX-License-Identifier: Apache-2.0
import Platform

/// Divides the descriptors that this process may open, so that no part of the process uses descriptors that another
/// part needs, however few there are.
package struct DescriptorBudget: Equatable {
    /// DNS: 128 transactions with two sockets each, and 64 TCP connections of guests with two ends each.
    private static let mostForNames = 384
    /// Files, those of 64 transfers of boot files among them, and the pipes of child processes.
    private static let own = 128
    /// Clients of the management console, and clients whose request has not arrived yet.
    private static let mostForOtherClients = 256

    /// Descriptors of a network with few guests. With fewer, parts of it would fail one by one.
    private static let least = 96

    /// All descriptors of the process.
    package let total: Int
    /// For the connections and UDP flows of a user-mode NAT.
    package let flows: Int
    /// For DNS.
    package let names: Int
    /// For clients of the switch and of other listeners.
    package let clients: Int

    /// - Parameters:
    ///   - hasFlows: there may be a user-mode NAT, which gets at least half of all descriptors.
    ///   - ports: of the switch; a client on one costs two descriptors.
    package init(total: Int, hasFlows: Bool, ports: Int) {
        self.total = total
        let mostForClients = 2 * ports + DescriptorBudget.mostForOtherClients
        let most = DescriptorBudget.mostForNames + mostForClients + DescriptorBudget.own
        let others = min(most, hasFlows ? total / 2 : total)
        flows = hasFlows ? total - others : 0
        names = min(DescriptorBudget.mostForNames, others / 3)
        clients = max(2, others - names - min(DescriptorBudget.own, others / 4))
    }

    /// - Throws: `unavailable` if the process may open too few files for a network.
    package func check() throws(ExitError) {
        guard total < DescriptorBudget.least else { return }
        throw ExitError(
            .unavailable,
            """
            this process may open \(total) files, and a network needs \(DescriptorBudget.least) at least; raise the \
            limit of open files (ulimit -n, LimitNOFILE=)
            """)
    }
}
