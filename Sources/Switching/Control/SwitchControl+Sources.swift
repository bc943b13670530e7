// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// The switch's workers, while there are any.
struct WeakFabric: Sendable {
    weak var fabric: Fabric?
}

// The IPv6 addresses of guests, for queries for their names. They are read under the locks of the workers, which no
// thread holds while it waits for frames, so that a query waits for no worker.

extension SwitchControl {
    /// The IPv6 addresses within `network` that a guest has used within the last `age`: the one that is made from its
    /// hardware address first, then those that it has had for longest. Empty while no rules for guests are in force
    /// (`setRules`).
    package func addresses(of station: Station, in network: IPv6Network, usedWithin age: TimeAmount) -> [IPv6Address] {
        guard station.port < SwitchControl.portCapacity else { return [] }
        return readGuard {
            $0.addresses(of: station, in: network, age: age, now: BootClock.now.coarse)
        } ?? []
    }

    /// The guest that holds an IPv6 address; nil if none does.
    package func holder(of address: IPv6Address) -> Station? { readGuard { $0.holder(of: address) } ?? nil }

    private func readGuard<T>(_ read: (borrowing SourceGuard) -> T) -> T? {
        guard let fabric = workers.withLock({ $0.fabric }) else { return nil }
        topologyLock.lockShared()
        defer { topologyLock.unlock() }
        fabric.tablesLock.lock()
        defer { fabric.tablesLock.unlock() }
        return read(fabric.tables.sourceGuard)
    }
}
