// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Switching
import Timing
import Wire

// The names of guests, and their addresses.

extension DHCPServerRunner {
    /// IPv6 addresses of one name at most.
    private static let addressLimit = 4
    /// How long ago an address may have been used. Guests give addresses up without notice.
    private static let recentUse = TimeAmount.minutes(60)

    /// The address of the guest that has this name now.
    package func address(of name: GuestName) -> IPv4Address? { server.address(of: name, now: BootClock.now) }

    /// The name of the guest that has this address now.
    package func name(of address: IPv4Address) -> GuestName? { server.name(of: address, now: BootClock.now) }

    /// The IPv6 addresses of the guest that has this name now: the one that is reserved for it, then those that it has
    /// used in the last hour, the most stable ones first. Temporary addresses (RFC 8981) come and go, and there may be
    /// many of them, so that there are four addresses at most.
    package func addresses6(of name: GuestName, in network: IPv6Network) -> [IPv6Address] {
        let now = BootClock.now
        let reserved = server.address6(of: name, in: network, now: now)
        var found = reserved.map { [$0] } ?? []
        guard let station = station(of: name, now) else { return found }
        for used in control.addresses(of: station, in: network, usedWithin: DHCPServerRunner.recentUse)
        where used != reserved && !server.isOthers(used, than: station.hardware, in: network, now: now) {
            if found.count == DHCPServerRunner.addressLimit { break }
            found.append(used)
        }
        return found
    }

    /// The guest that uses this IPv6 address now: its hardware address, and its name if it has one and the address is
    /// of this network. Nil if no guest does.
    package func user(
        of address: IPv6Address, in network: IPv6Network?
    ) -> (hardware: MACAddress, name: GuestName?)? {
        guard let holder = control.holder(of: address) else { return nil }
        let now = BootClock.now
        guard let network, network.contains(address),
            !server.isOthers(address, than: holder.hardware, in: network, now: now),
            let name = server.name(of: holder.hardware, now: now), station(of: name, now) == holder
        else { return (holder.hardware, nil) }
        return (holder.hardware, name)
    }

    /// The guest with a name, at the port by which it got its lease. A hardware address alone identifies no guest,
    /// because another guest can send from it.
    private func station(of name: GuestName, _ now: Instant) -> Station? {
        guard let lease = server.lease(of: name, now: now), let port = port(of: lease) else { return nil }
        return Station(port: port, hardware: lease.hardware)
    }

    /// The IPv6 address that is reserved for the guest with this hardware address.
    package func address6(of hardware: MACAddress, in network: IPv6Network) -> IPv6Address? {
        server.address6(of: hardware, in: network)
    }

    /// The name that the guest for which this IPv6 address is reserved has now.
    package func name(of address: IPv6Address, in network: IPv6Network) -> GuestName? {
        server.name(of: address, in: network, now: BootClock.now)
    }

    /// The name of the guest that has this hardware address now.
    package func name(of hardware: MACAddress) -> GuestName? { server.name(of: hardware, now: BootClock.now) }
}
