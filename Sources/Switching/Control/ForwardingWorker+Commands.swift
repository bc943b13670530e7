// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// The control thread's commands, which the first worker executes under the exclusive lock.

extension ForwardingWorker {
    /// Batches that a client which has gone may leave in its socket: 1 MiB of full-size frames.
    private static let remainingBatches = 16

    mutating func executeCommands() {
        for command in fabric.control.takeCommands() {
            switch command {
            case .attach(let number, let configuration, let counters): attach(number, configuration, counters)
            case .detach(let number): detach(number)
            case .rearm(let number): if ports.isAttached(number) { rearm(number) }
            case .probe(let number): if ports.isAttached(number) { dispatcher.sendLoopProbe(by: number) }
            case .send(let number, let frame):
                if ports.isAttached(number) { dispatcher.transmitOwn(frame, by: number) }
            case .addStatic(let address, let number):
                if ports.isAttached(number) { fabric.addStatic(address, at: number) }
            case .vlans(let number, let untagged, let tagged):
                guard ports.isAttached(number) else { continue }
                fabric.setVLANs(of: number, untagged: untagged, tagged: tagged)
                fabric.forgetAddresses(of: number)
            case .isolatePort(let number, let isIsolated):
                if ports.isAttached(number) { ports[number].setIsolated(isIsolated) }
            case .limit(let number, let limit): if ports.isAttached(number) { ports[number].setLimit(limit) }
            case .capture(let slot, let tap, let selection): fabric.setCapture(slot, tap, selection)
            case .addresses(let promise): promise.fulfill(fabric.tables.addresses.all(now: dispatcher.now))
            case .sources(let promise): promise.fulfill(fabric.tables.sourceGuard.sources())
            case .barrier(let promise): promise.fulfill(true)
            case .stop: fabric.stop()
            default: changeSetting(command)
            }
        }
    }

    private func changeSetting(_ command: SwitchCommand) {
        switch command {
        case .names(let service): fabric.settings.names = service
        case .boot(let service): fabric.settings.boot = service
        case .router(let isThere): fabric.settings.hasRouter = isThere
        case .policy(let policy):
            fabric.settings.policy = policy
            fabric.settings.updateGuestChecks()
        case .rules(let rules):
            fabric.settings.rules = rules
            fabric.tables.sourceGuard.setGateway(rules.gateway, rules.network, rules.gatewayIPv6)
            fabric.settings.updateGuestChecks()
        case .bindings(let bindings):
            for binding in bindings {
                fabric.tables.sourceGuard.bind(
                    binding.address, to: binding.hardware, until: binding.until, now: dispatcher.now)
            }
        case .reserved(let addresses): fabric.tables.sourceGuard.reserve(addresses)
        case .reserved6(let addresses): fabric.tables.sourceGuard.reserve(addresses)
        case .vlanAware(let isAware):
            fabric.settings.isVLANAware = isAware
            for index in 0..<ports.count { fabric.forgetAddresses(of: ports.number(at: index)) }
        case .hub(let isHub): fabric.settings.isHub = isHub
        case .isolation(let isIsolating): fabric.settings.isolatesGuests = isIsolating
        case .ageing(let time): fabric.tables.addresses.ageing = time
        case .attach, .detach, .rearm, .probe, .send, .addStatic, .vlans, .isolatePort, .limit, .capture, .addresses,
            .sources, .barrier, .stop:
            break
        }
    }

    private mutating func attach(
        _ number: PortNumber, _ configuration: PortConfiguration, _ counters: PortCounters
    ) {
        fabric.attach(number, configuration, counters)
        admitPeer(number, configuration)
        configuration.injector?.attach(to: number, of: fabric)
        if ports[number].endpoint.isPolled { dispatcher.scheduleDevice(number, isReadable: false) }
        fabric.watch(number)
    }

    private mutating func detach(_ number: PortNumber) {
        guard ports.isAttached(number) else { return }
        drainRemaining(from: Int(number))
        forgetPeer(number)
        fabric.detach(number)
    }

    private mutating func rearm(_ number: PortNumber) {
        ports[number].reportedError = 0
        forgetPending(at: number)
        ports[number].ingress.hasReceived = false
        ports[number].ingress.isGoodbyeReported = false
    }

    /// Dispatches the frames that a client had sent before it went, as many as a socket holds.
    private mutating func drainRemaining(from number: Int) {
        if let listener = ports[number].endpoint.listener {
            if ports.isAttached(listener), ports[listener].kind == .datagramListener { drainListener(Int(listener)) }
            return
        }
        guard ports[number].role == .guest else { return }
        switch ports[number].kind {
        case .datagram, .stream, .sequencedPacket: break
        default: return
        }
        for _ in 0..<ForwardingWorker.remainingBatches {
            var error: Int32 = 0
            batch.removeAll()
            _ = ports[number].ingress.receive(
                from: ports[number].endpoint, into: &batch, with: &receiver, error: &error)
            if batch.count == 0 || ports[number].ingress.isOver { return }
            dispatcher.dispatch(&batch, from: number)
        }
    }

    /// Dispatches the frames that the services have sent.
    mutating func dispatchFromServices() {
        while true {
            batch.removeAll()
            while batch.count < batch.capacity {
                guard
                    let frame = fabric.control.fromService.removeFirst({ frame, _ in frame.copied() })
                        ?? fabric.control.nameReplies.removeFirst({ frame, _ in frame.copied() })
                        ?? fabric.control.bootReplies.removeFirst({ frame, _ in frame.copied() })
                else { break }
                batch.append(copying: frame.rawSpan)
            }
            if batch.count == 0 { return }
            dispatcher.dispatch(&batch, from: Int(SwitchControl.servicePort))
        }
    }
}
