// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

// Ports that come, go, and change hands. Under the exclusive lock.

extension Fabric {
    /// Puts a port into its slot, its group and its VLANs.
    func attach(_ number: PortNumber, _ configuration: PortConfiguration, _ counters: PortCounters) {
        ports.attach(Port(number, configuration, counters))
        resumeSharedIngresses()
        updateCaptures(of: number)
        joinGroup(number)
        setVLANs(of: number, untagged: configuration.pvid, tagged: configuration.taggedVLANs)
        tables.sourceGuard.attach(
            number, group: configuration.group, isShared: configuration.reach != .guest)
    }

    /// Has the first worker read an attached port.
    func watch(_ number: PortNumber) {
        let endpoint = ports[number].endpoint
        guard endpoint.raw >= 0, endpoint.kind != .datagramClient else { return }
        do {
            try pollers[0].add(endpoint.raw, token: UInt64(number), for: .readable)
        } catch {
            control.report(.unreachable(number, error.code))
        }
    }

    /// Puts a new port into the ring of its group.
    private func joinGroup(_ number: PortNumber) {
        let group = ports[number].endpoint.group
        guard group != 0 else { return }
        for index in 0..<ports.count {
            let other = ports.number(at: index)
            guard other != number, ports[other].endpoint.group == group else { continue }
            ports[number].nextInGroup = ports[other].nextInGroup
            ports[other].nextInGroup = number
            return
        }
    }

    private func leaveGroup(_ number: PortNumber) {
        var previous = ports[number].nextInGroup
        while ports[previous].nextInGroup != number { previous = ports[previous].nextInGroup }
        ports[previous].nextInGroup = ports[number].nextInGroup
    }

    /// Removes everything about an attached port, and closes its descriptors.
    func detach(_ number: PortNumber) {
        tables.addresses.forget(number)
        tables.sourceGuard.detach(number)
        settings.membership.removeAll(of: Int(number))
        tables.loopDetector.forget(number)
        settings.staticAddresses.removeAll { $0.port == number }
        forgetPauses(of: number)
        if ports[number].isLoopBlocked { tables.loopBlockedCount -= 1 }
        leaveGroup(number)
        ports[number].endpoint.injector?.detach()
        pollers[ports[number].worker].remove(ports[number].endpoint.raw)
        ports.detach(number)
        settings.generation &+= 1
    }

    /// Gives a port of `owner` to another worker.
    func migrate(_ number: PortNumber, from owner: Int, to worker: Int) {
        guard ports.isAttached(number), ports[number].worker == owner else { return }
        let isWatched = ports[number].isPolledForEvents, raw = ports[number].endpoint.raw
        if isWatched { pollers[owner].remove(raw) }
        ports[number].worker = worker
        if isWatched { try? pollers[worker].add(raw, token: UInt64(number), for: ports[number].interest) }
        settings.generation &+= 1
    }

    /// Makes a port a member of VLANs.
    func setVLANs(of number: PortNumber, untagged: UInt16, tagged: [UInt16]) {
        ports[number].pvid = untagged
        settings.membership.removeAll(of: Int(number))
        for vlan in tagged { settings.membership.set(Int(number), vlan, true) }
        // The services are in the uplink's VLAN, and so is the NAT beside a TAP.
        switch ports[number].role {
        case .guest: break
        case .service: ports[number].pvid = ports[SwitchControl.servicePort].pvid
        case .uplink:
            for index in 0..<ports.count where ports.number(at: index) != number {
                let other = ports.number(at: index)
                if ports[other].role != .guest { ports[other].pvid = untagged }
                guard ports[other].role == .uplink else { continue }
                settings.membership.removeAll(of: Int(other))
                for vlan in tagged { settings.membership.set(Int(other), vlan, true) }
                forgetAddresses(of: other)
            }
        }
    }

    /// Removes the addresses that were learned at a port; static ones stay.
    func forgetAddresses(of number: PortNumber) {
        tables.addresses.forget(number)
        tables.sourceGuard.forget(number)
        installStaticAddresses(of: number)
    }

    func addStatic(_ address: MACAddress, at number: PortNumber) {
        settings.staticAddresses.append((address, number))
        installStaticAddresses(of: number)
    }

    /// Enters the static addresses of a port, in every VLAN that it is a member of.
    private func installStaticAddresses(of number: PortNumber) {
        for entry in settings.staticAddresses where entry.port == number {
            for vlan in 0..<PortConfiguration.noVLAN
            where ports[number].pvid == vlan || settings.membership.contains(Int(number), vlan) {
                tables.addresses.addStatic(AddressTable.key(entry.address, vlan: vlan), at: number)
            }
        }
    }

    /// Ends all workers.
    func stop() {
        settings.isStopped = true
        for index in 0..<ports.count { ports[ports.number(at: index)].endpoint.injector?.detach() }
        ended.signal()
    }
}
