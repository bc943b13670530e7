// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// What the first worker does alone, between turns: commands of the control thread, ports that come and go, ports that
// are closed for a while.

extension Forwarder {
    /// Batches that a client which goes may leave behind: 1 MiB of full-size frames.
    private static let restBatches = 16

    mutating func obey() {
        for command in control.takeCommands() {
            switch command {
            case .attach(let number, let configuration, let counters): attach(number, configuration, counters)
            case .detach(let number): detach(number)
            case .rearm(let number):
                guard isAttached(number) else { continue }
                unsafe ports[Int(number)].isReported = false
                forgetStranger(at: number)
                unsafe ports[Int(number)].ingress.hasReceived = false
                unsafe ports[Int(number)].ingress.isGoodbyeReported = false
            case .probe(let number):
                if isAttached(number) { probe(number) }
            case .send(let number, let frame):
                if isAttached(number) { send(frame, outOf: number) }
            case .pin(let address, let number):
                guard isAttached(number) else { continue }
                state.pins.append((address, number))
                pinAddresses(of: number)
            case .names(let service): state.names = service
            case .policy(let policy):
                state.policy = policy
                updateJudging()
            case .rules(let rules):
                state.rules = rules
                tables.addressGuard.setGateway(rules.gateway, rules.gatewayIPv6)
                updateJudging()
            case .owners(let owners):
                for owner in owners {
                    tables.addressGuard.note(owner.address, owner.hardware, until: owner.until, now: now)
                }
            case .vlans(let number, let untagged, let tagged):
                guard isAttached(number) else { continue }
                place(number, untagged: untagged, tagged: tagged)
                forget(number)
            case .vlanAware(let isAware):
                state.isVLANAware = isAware
                forgetAll()
            case .hub(let isHub): state.isHub = isHub
            case .isolation(let isIsolating): state.isIsolating = isIsolating
            case .ageing(let seconds): tables.addresses.ageing = seconds
            case .addresses(let answer): answer.give(tables.addresses.all(now: now))
            case .settle(let answer): answer.give(true)
            case .stop: end()
            }
        }
    }

    private mutating func updateJudging() { state.isJudging = state.policy.takesDHCP || state.rules.reach != .nothing }

    /// Ends all workers, alone.
    func end() {
        state.isStopped = true
        for place in 0..<state.activeCount { unsafe ports[Int(active[place])].configuration.worker?.detach() }
        fabric.ending.signal()
    }

    func isAttached(_ number: PortNumber) -> Bool { unsafe places[Int(number)] >= 0 }

    mutating func attach(_ number: PortNumber, _ configuration: PortConfiguration, _ counters: PortCounters) {
        unsafe (ports + Int(number)).initialize(to: Port(number, configuration, counters))
        if configuration.bundle != 0 { link(number, configuration.bundle) }
        unsafe places[Int(number)] = Int32(state.activeCount)
        unsafe active[state.activeCount] = number
        state.activeCount += 1
        place(number, untagged: configuration.untaggedVLAN, tagged: configuration.taggedVLANs)
        tables.addressGuard.attach(number, bundle: configuration.bundle, isShared: configuration.reach != .guest)
        open(number, configuration)
        configuration.worker?.attach(makeDeviceWorker(), to: number)
        if unsafe ports[Int(number)].takesTurns { noteTurn(Int(number), isReadable: false) }
        guard configuration.descriptor >= 0, configuration.kind != .datagramClient else { return }
        do {
            try unsafe pollers[0].add(configuration.descriptor, token: UInt64(number), for: .readable)
        } catch {
            control.report(.unreachable(number, error.code))
        }
    }

    /// Puts a port that is not in `active` yet into the ring of its bundle.
    private func link(_ number: PortNumber, _ bundle: UInt16) {
        for place in 0..<state.activeCount {
            let other = unsafe Int(active[place])
            guard unsafe ports[other].bundle == bundle else { continue }
            unsafe ports[Int(number)].sibling = ports[other].sibling
            unsafe ports[other].sibling = number
            return
        }
    }

    mutating func detach(_ number: PortNumber) {
        let place = unsafe Int(places[Int(number)])
        guard place >= 0 else { return }
        takeRest(from: Int(number))
        reception.strangers.removeAll { $0.listener == number }
        tables.addresses.forget(number)
        tables.addressGuard.detach(number)
        reception.peers.remove(number)
        state.membership.removeAll(of: Int(number))
        tables.loopGuard.forget(number)
        state.pins.removeAll { $0.port == number }
        forgetHolding(number)
        if unsafe ports[Int(number)].isClosed { tables.closedCount -= 1 }
        var previous = unsafe Int(ports[Int(number)].sibling)
        while unsafe ports[previous].sibling != number { previous = unsafe Int(ports[previous].sibling) }
        unsafe ports[previous].sibling = ports[Int(number)].sibling
        unsafe ports[Int(number)].configuration.worker?.detach()
        unsafe pollers[ports[Int(number)].worker].remove(ports[Int(number)].raw)
        unsafe (ports + Int(number)).deinitialize(count: 1)
        state.activeCount -= 1
        let moved = unsafe active[state.activeCount]
        unsafe active[place] = moved
        unsafe places[Int(moved)] = Int32(place)
        unsafe places[Int(number)] = -1
        state.generation &+= 1
    }

    /// Takes what a client had sent before it went, or as much of it as a socket holds.
    private mutating func takeRest(from number: Int) {
        if let listener = unsafe ports[number].configuration.listener {
            if isAttached(listener), unsafe ports[Int(listener)].kind == .datagramListener {
                drainListener(Int(listener))
            }
            return
        }
        guard unsafe ports[number].role == .guest,
            unsafe ports[number].kind == .datagram || ports[number].kind == .stream
        else { return }
        for _ in 0..<Forwarder.restBatches {
            var error: Int32 = 0
            batch.removeAll()
            _ = unsafe ports[number].ingress.receive(into: &batch, with: &receiver, error: &error)
            if batch.count == 0 { return }
            forward(from: number)
        }
    }

    /// Puts a port into its VLANs.
    private mutating func place(_ number: PortNumber, untagged: UInt16, tagged: [UInt16]) {
        unsafe ports[Int(number)].untaggedVLAN = untagged
        state.membership.removeAll(of: Int(number))
        for vlan in tagged { state.membership.set(Int(number), vlan, true) }
        // The services are where the way out is.
        switch unsafe ports[Int(number)].role {
        case .guest: break
        case .service: unsafe ports[Int(number)].untaggedVLAN = ports[Int(SwitchControl.servicePort)].untaggedVLAN
        case .uplink:
            for place in 0..<state.activeCount where unsafe ports[Int(active[place])].role == .service {
                unsafe ports[Int(active[place])].untaggedVLAN = untagged
            }
        }
    }

    private mutating func forgetAll() {
        for place in 0..<state.activeCount { forget(unsafe active[place]) }
    }

    /// Forgets what was learned at a port; what is tied to it stays.
    private mutating func forget(_ number: PortNumber) {
        tables.addresses.forget(number)
        tables.addressGuard.forget(number)
        pinAddresses(of: number)
    }

    /// Ties the addresses of a port to it in every VLAN that it is in.
    private mutating func pinAddresses(of number: PortNumber) {
        for pin in state.pins where pin.port == number {
            for vlan in 0..<PortConfiguration.noVLAN
            where unsafe ports[Int(number)].untaggedVLAN == vlan || state.membership.contains(Int(number), vlan) {
                tables.addresses.pin(AddressTable.key(pin.address, vlan: vlan), to: number)
            }
        }
    }

    // MARK: Full receivers

    /// Tries again what receivers had no room for that will not tell when they have.
    mutating func retryFullPorts() {
        // By the clock, however busy the other ports keep us: a receiver's patience is measured in attempts.
        let moment = MonotonicClock.now
        guard moment >= nextRetry else { return }
        nextRetry = moment + Port.retryPause
        for number in retrying where isAttached(number) {
            unsafe ports[Int(number)].sending.lock()
            if unsafe ports[Int(number)].egress.isBlocked {
                let error = unsafe ports[Int(number)].egress.retry(with: &sender)
                if unsafe ports[Int(number)].takesTurns { noteTurn(Int(number), isReadable: false) }
                settle(Int(number), error)
            }
            unsafe ports[Int(number)].sending.unlock()
        }
        // The port of that number may have become another.
        var rest = 0
        for place in 0..<retrying.count {
            let number = retrying[place]
            guard isAttached(number), unsafe ports[Int(number)].isWatchingForRoom,
                unsafe !ports[Int(number)].tellsOfRoom
            else { continue }
            retrying[rest] = number
            rest += 1
        }
        retrying.removeLast(retrying.count - rest)
    }

    /// Sends what the last batch has led to. It must be done with.
    mutating func sendOwn() {
        if wantsProbes { sendProbes() }
        if question != nil { ask() }
    }

    /// Asks a guest whether it still uses its address (`SourceBindings`).
    private mutating func ask() {
        guard let asked = question else { return }
        question = nil
        guard isAttached(asked.holder.port) else { return }
        batch.removeAll()
        batch.append(copying: SourceBindings.solicitation(asked).rawSpan)
        let service = Int(SwitchControl.servicePort)
        let vlan = unsafe state.isVLANAware ? ports[service].untaggedVLAN : 0
        batch[0].vlan = vlan
        fabric.tables.lock()
        send(
            Passage(index: 0, ingress: service, role: .service, isGroup: false, isTagged: false, vlan: vlan),
            to: asked.holder.port)
        fabric.tables.unlock()
        transmit()
    }

    // MARK: Loops

    /// Sends a probe out of every port.
    mutating func sendProbes() {
        wantsProbes = false
        for place in 0..<state.activeCount { probe(unsafe active[place]) }
    }

    /// Sends a probe out of one port, even if it is closed. The batch must be done with.
    mutating func probe(_ number: PortNumber) {
        guard number != SwitchControl.servicePort else { return }
        fabric.tables.lock()
        let frame = tables.loopGuard.probe(for: number)
        fabric.tables.unlock()
        send(frame, outOf: number)
    }

    private mutating func send(_ frame: [UInt8], outOf number: PortNumber) {
        batch.removeAll()
        batch.append(copying: frame.rawSpan)
        note(0, .keep, for: number)
        transmit()
    }

    /// A probe that went out of `origin` has come in at `ingress`. With `tables`.
    mutating func close(becauseOf origin: PortNumber, at ingress: Int) {
        // What comes back where it went out has turned round beyond one port, which is not ours to mend.
        guard isAttached(origin), Int(origin) != ingress else { return }
        if unsafe ports[Int(origin)].isClosed {
            // On trial, and the loop is still there.
            if unsafe ports[Int(origin)].isOnTrial { extend(Int(origin)) }
            return
        }
        guard unsafe !ports[ingress].isClosed else { return }
        // The way out stays open; where it is one end of the loop, the other end is closed.
        let isWayOut = unsafe ports[ingress].role == .uplink
        let victim = isWayOut ? Int(origin) : ingress
        guard unsafe ports[victim].role == .guest else { return }
        unsafe ports[victim].isClosed = true
        tables.closedCount += 1
        // The first worker looks after it.
        control.wakeup.signal()
        extend(victim)
        tables.addresses.forget(PortNumber(victim))
        control.report(.loop(PortNumber(victim), with: isWayOut ? PortNumber(ingress) : origin))
    }

    private func extend(_ number: Int) {
        unsafe ports[number].closedUntil = now &+ fabric.closingPause
        unsafe ports[number].isOnTrial = false
    }

    /// Sends a probe through closed ports whose time is over, and opens those whose probe did not come back.
    mutating func tryClosedPorts() {
        for place in 0..<state.activeCount {
            let number = unsafe Int(active[place])
            guard unsafe ports[number].isClosed, unsafe ports[number].closedUntil <= now else { continue }
            if unsafe ports[number].isOnTrial {
                unsafe ports[number].isClosed = false
                unsafe ports[number].isOnTrial = false
                tables.closedCount -= 1
                control.report(.loopEnded(PortNumber(number)))
            } else {
                unsafe ports[number].isOnTrial = true
                // Two, so that at least one whole second passes.
                unsafe ports[number].closedUntil = now &+ 2 * LoopGuard.trial
                probe(PortNumber(number))
            }
        }
    }
}
