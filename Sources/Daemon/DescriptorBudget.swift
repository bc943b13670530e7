// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Switching

/// How the descriptors that this process may open are divided, so that no part of it takes what another needs, however
/// few there are.
struct DescriptorBudget: Equatable {
    /// Questions for names: 128 with two sockets each, and 64 connections of guests with two ends each.
    private static let mostForNames = 384
    /// What the process itself has open, and opens for a moment: files, its children's pipes.
    private static let own = 64
    /// A full switch, on which a client costs two, its terminals, and clients that have not said what they want.
    private static let mostForClients = 2 * SwitchControl.portCapacity + 256

    /// What the process may open.
    let total: Int
    /// For conversations of a user-mode NAT.
    let flows: Int
    /// For questions for names.
    let names: Int
    /// For clients that are taken in at a listening socket.
    let clients: Int

    /// - Parameter hasFlows: there may be a user-mode NAT, which gets half of all at least.
    init(total: Int, hasFlows: Bool) {
        self.total = total
        let most = DescriptorBudget.mostForNames + DescriptorBudget.mostForClients + DescriptorBudget.own
        let others = min(most, hasFlows ? total / 2 : total)
        flows = hasFlows ? total - others : 0
        names = min(DescriptorBudget.mostForNames, others / 3)
        clients = max(2, others - names - min(DescriptorBudget.own, others / 4))
    }
}
