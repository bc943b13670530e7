// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

// Names of guests. A name that a reservation fixes exists always; a name that a client sends exists as long as its
// lease.

extension DHCPServer {
    /// The address of the guest that has this name: of its lease, else the one that is reserved for it.
    package func address(of name: GuestName, now: Instant) -> IPv4Address? {
        lease(of: name, now: now)?.address ?? fixedNames.reservation(name)?.address
    }

    /// The name of the guest that has this address.
    package func name(of address: IPv4Address, now: Instant) -> GuestName? {
        if let lease = table.lease(on: address), lease.expires > now, let name = lease.name { return name }
        guard let name = fixedNames.name(on: address) else { return nil }
        return self.address(of: name, now: now) == address ? name : nil
    }

    /// The IPv6 address that is reserved for the guest that has this name.
    package func address6(of name: GuestName, in network: IPv6Network, now: Instant) -> IPv6Address? {
        let holder = fixedNames.reservation(name)?.hardware ?? table.holder(of: name, now: now)?.hardware
        return holder.flatMap { fixedNames.address6(of: $0, in: network) }
    }

    /// The running lease of the guest that has this name.
    func lease(of name: GuestName, now: Instant) -> Lease? {
        guard let holder = table.holder(of: name, now: now) else { return nil }
        return fixedNames.reservation(name).map { $0.hardware == holder.hardware } ?? true ? holder : nil
    }

    /// Whether an IPv6 address belongs to another guest than that with this hardware address, whichever guest uses it:
    /// it is reserved for that guest, or made from its hardware address (RFC 4291 appendix A), and it has a name.
    func isOthers(
        _ address: IPv6Address, than hardware: MACAddress, in network: IPv6Network, now: Instant
    ) -> Bool {
        if let owner = fixedNames.hardware(on: address, in: network) { return owner != hardware }
        guard let maker = address.embeddedHardware, maker != hardware else { return false }
        return name(of: maker, now: now) != nil
    }

    /// The IPv6 address that is reserved for the guest with this hardware address.
    package func address6(of hardware: MACAddress, in network: IPv6Network) -> IPv6Address? {
        fixedNames.address6(of: hardware, in: network)
    }

    /// The name of the guest that this IPv6 address is reserved for.
    package func name(of address: IPv6Address, in network: IPv6Network, now: Instant) -> GuestName? {
        fixedNames.hardware(on: address, in: network).flatMap { name(of: $0, now: now) }
    }

    /// The name of the guest that has this hardware address.
    package func name(of hardware: MACAddress, now: Instant) -> GuestName? {
        if let name = fixedNames.name(of: hardware) { return name }
        return table.name(of: hardware, now: now)
    }

    /// The name that the client gets with `lease`: the one that is fixed for it, else the one that it sends, if neither
    /// another client nor the host's `/etc/hosts` has that, or the one that it holds, if it sends none. A name that is
    /// not fixed belongs to the first client that has a running lease with it.
    mutating func heldName(
        of message: DHCPv4Message, with lease: Lease, at port: ClientPort, now: Instant, into outbox: inout Outbox
    ) -> GuestName? {
        if let fixed = fixedNames.name(of: lease.hardware) { return fixed }
        let before = table.lease(of: lease.client).flatMap {
            $0.hardware == lease.hardware && $0.expires > now ? $0 : nil
        }
        // Another guest may send messages with this client's addresses, until the client's own port is gone.
        if table.isElsewhere(lease.address, than: port) { return before?.name }
        guard let sent = ClientName(message) else { return before?.name }
        guard let name = sent.guest, !isHosts(name, but: lease.address) else { return nil }
        let holder: MACAddress
        if let fixed = fixedNames.reservation(name) {
            holder = fixed.hardware
        } else if let other = table.holder(of: name, now: now), other.client != lease.client,
            other.address != lease.address
        {
            holder = other.hardware
        } else {
            return name
        }
        // A clone sends the name of its original with every renewal, which is no news.
        if before?.name != nil || before?.hostName != lease.hostName {
            noteNameConflict(name, of: holder, with: lease.hardware, at: port, now: now, into: &outbox)
        }
        return nil
    }

    /// The name of a new lease for the log, and the one that the client sends and does not get.
    func naming(_ lease: Lease, _ sent: ClientName?) -> String {
        if let name = lease.name { return " (\(name))" }
        guard let sent, !sent.text.isEmpty else { return "" }
        let reason: String
        if let name = sent.guest {
            reason = isHosts(name, but: lease.address) ? "it is in the host's /etc/hosts" : "another guest has it"
        } else {
            let isReserved = GuestName.isReserved(sent.text.prefix { $0 != "." })
            reason =
                isReserved
                ? "it is reserved" : "a name has letters, digits and hyphens, \(GuestName.maximumLength) at most"
        }
        return ", without the name \(sent.text) that it sends: \(reason)"
    }

    /// Whether the host's `/etc/hosts` gives a name to other addresses.
    private func isHosts(_ name: GuestName, but address: IPv4Address) -> Bool {
        configuration.hostNames[name].map { !$0.contains(address) } ?? false
    }

    /// A lease from before a restart: without its name, if a reservation now fixes that for another guest, or the host
    /// has it.
    func restored(_ lease: Lease) -> Lease {
        guard let name = lease.name else { return lease }
        let isOthers = fixedNames.reservation(name).map { $0.hardware != lease.hardware }
        guard isOthers ?? isHosts(name, but: lease.address) else { return lease }
        var lease = lease
        lease.name = nil
        return lease
    }
}
