// SPDX-License-Identifier: Apache-2.0

/// The descriptors that clients may use. Every accepted client counts until its admission is released. Main thread
/// only.
package final class ClientQuota {
    /// Why a client is not admitted, and what to do, for messages.
    package static let exhaustion =
        "all descriptors for clients are in use; raise the limit of open files (ulimit -n, LimitNOFILE=)"

    /// Descriptors for all clients together.
    package let limit: Int
    /// Descriptors of the clients that are admitted now.
    package private(set) var used = 0

    /// - Parameter limit: descriptors for all clients together.
    package init(limit: Int) { self.limit = limit }

    /// Reserves the descriptors of one client; nil if too few are left.
    package func admit(_ cost: Int) -> Admission? {
        guard used + cost <= limit else { return nil }
        return Admission(self, cost)
    }

    /// Reserves a client's descriptors for as long as it exists.
    package final class Admission {
        private let quota: ClientQuota
        private let cost: Int

        fileprivate init(_ quota: ClientQuota, _ cost: Int) {
            self.quota = quota
            self.cost = cost
            quota.used += cost
        }

        deinit { quota.used -= cost }
    }
}
