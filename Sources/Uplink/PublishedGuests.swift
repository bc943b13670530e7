// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Logging
import NetworkModel
import Timing
import Wire

/// Follows the guests to which published ports lead: by their leases where a port follows a guest, and with a warning
/// where an address that is published changes hands.
package final class PublishedGuests {
    /// With the addresses to which they lead now.
    package private(set) var published: [PublishedPort]
    private let logger: Logger
    private let onChange: ([PublishedPort]) -> Void
    /// The guest that had a lease of a published address last.
    private var holders: [IPv4Address: MACAddress] = [:]

    /// - Parameter onChange: called with all of them when one leads elsewhere.
    package init(_ published: [PublishedPort], logger: Logger, onChange: @escaping ([PublishedPort]) -> Void) {
        self.published = published
        self.logger = logger
        self.onChange = onChange
        for one in published where one.followed != nil {
            logger.info("--publish \(one) leads nowhere until that guest has a lease")
        }
    }

    /// Takes over the published ports after a change.
    package func replace(by ports: [PublishedPort]) { published = ports }

    /// The port with the address of the guest that it follows, if that guest has a lease.
    package func followed(_ port: PublishedPort, _ leases: [Lease], now: Instant) -> PublishedPort {
        guard let followed = port.followed else { return port }
        var port = port
        let lease = leases.last { $0.expires > now && followed.hasLease(of: $0.hardware, named: $0.name) }
        port.setGuest(lease?.address ?? .any)
        return port
    }

    /// Takes leases that were given or have changed.
    package func note(_ leases: [Lease], now: Instant) {
        let before = published
        for lease in leases where lease.expires > now {
            follow(lease)
            warn(of: lease)
        }
        if published != before { onChange(published) }
    }

    private func follow(_ lease: Lease) {
        for index in published.indices {
            guard let followed = published[index].followed else { continue }
            let isLeased = followed.hasLease(of: lease.hardware, named: lease.name)
            if isLeased, published[index].guest != .ipv4(lease.address) {
                published[index].setGuest(lease.address)
                logger.info("--publish \(published[index]) leads to \(lease.address)")
            } else if !isLeased, published[index].guest == .ipv4(lease.address) {
                // It is another guest's now, or the guest has another name.
                published[index].setGuest(.any)
                logger.info("--publish \(published[index]) leads nowhere until that guest has a lease again")
            }
        }
    }

    private func warn(of lease: Lease) {
        guard let one = published.first(where: { $0.followed == nil && $0.guest == .ipv4(lease.address) }) else {
            return
        }
        let holder = holders.updateValue(lease.hardware, forKey: lease.address)
        guard let holder, holder != lease.hardware else { return }
        logger.warning(
            """
            --publish \(one) leads to another guest now: \(lease.address) was leased to \(holder) and is leased to \
            \(lease.hardware); publish the hardware address instead, or reserve the address: --dhcp-host \
            \(holder),\(lease.address)
            """
        )
    }
}
