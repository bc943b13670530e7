// SPDX-License-Identifier: Apache-2.0

/// How the descriptors that this process may open are divided, so that no part of it takes what another needs, however
/// few there are.
package struct DescriptorBudget: Equatable {
    /// Questions for names: 128 with two sockets each, and 64 connections of guests with two ends each.
    private static let mostForNames = 384
    /// What the process itself has open, and opens for a moment: files, its children's pipes.
    private static let own = 64
    /// Clients of the management console, and clients whose request has not arrived yet.
    private static let mostForOtherClients = 256

    /// What the process may open.
    package let total: Int
    /// For conversations of a user-mode NAT.
    package let flows: Int
    /// For questions for names.
    package let names: Int
    /// For clients that are taken in at a listening socket.
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
}
