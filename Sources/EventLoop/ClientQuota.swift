// SPDX-License-Identifier: Apache-2.0

/// Descriptors that are left for clients. Every accepted client counts until it has gone. On the main thread.
package final class ClientQuota {
    package let limit: Int
    package private(set) var used = 0

    package init(limit: Int) { self.limit = limit }

    /// Reserves the descriptors of one client; nil when too few are left.
    package func admit(_ cost: Int) -> Admission? {
        guard used + cost <= limit else { return nil }
        return Admission(self, cost)
    }

    /// A client's descriptors, which are free again when this goes.
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
