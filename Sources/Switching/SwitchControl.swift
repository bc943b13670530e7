// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// The other threads' side of a forwarder: attaches and detaches ports, hands frames of the address service in, tells
/// what happened.
package final class SwitchControl: Sendable {
    enum Command: Sendable {
        case attach(PortNumber, PortConfiguration, PortCounters)
        case detach(PortNumber)
        /// Send another `unreachable` or `firstFrame` event when it happens again.
        case rearm(PortNumber)
        case probe(PortNumber)
        case send(PortNumber, [UInt8])
        case pin(MACAddress, PortNumber)
        case policy(ServicePolicy)
        case rules(GuestRules)
        case names(NameService?)
        case owners([AddressOwner])
        case vlans(PortNumber, untagged: UInt16, tagged: [UInt16])
        case vlanAware(Bool)
        case hub(Bool)
        case isolation(Bool)
        case ageing(UInt32)
        case addresses(Answer<[KnownAddress]>)
        case settle(Answer<Bool>)
        case stop
    }

    private struct State {
        /// The forwarder has a thread.
        var isRunning = false
        var commands: [Command] = []
        var events: [PortEvent] = []
        var ports: [PortNumber: (name: String, counters: PortCounters, reach: PortReach)] = [:]
        /// Ports that were detached since the last call of `takeDetached`.
        var detached: Set<PortNumber> = []
        var next: PortNumber = 1
    }

    /// Ports that one forwarder can have.
    package static let portCapacity = 1024
    /// The service's port is always there.
    package static let servicePort: PortNumber = 0

    private let state = Mutex(State())
    /// Workers are inside for a turn each; who changes ports or settings is there alone (`Fabric`).
    let gate = ReadWriteLock()
    /// Wakes the forwarder.
    let wakeup: Wakeup
    /// Becomes readable when `events` or frames for the service have come.
    package let notification: Wakeup
    let toService = FrameRing()
    let fromService = FrameRing()
    // Apart from DHCP's, which a flood of questions is not to hold up.
    let questions = FrameRing()
    let answers = FrameRing()
    let callers = CallerPorts()
    package let serviceCounters = PortCounters()

    package init() throws(SystemError) {
        wakeup = try Wakeup()
        notification = try Wakeup()
    }

    private func send(_ command: Command) {
        state.withLock { $0.commands.append(command) }
        wakeup.signal()
    }

    /// Attaches a port and takes over its descriptor. Returns its number, or nil when all are taken; the descriptor is
    /// then still the caller's.
    package func attach(_ configuration: PortConfiguration) -> PortNumber? {
        let counters = PortCounters()
        let number: PortNumber? = state.withLock { state in
            // In turn, so that what is still on its way about a port that has gone is not taken for another's.
            let capacity = PortNumber(SwitchControl.portCapacity)
            let numbers = [state.next..<capacity, 1..<state.next].joined()
            guard let number = numbers.first(where: { state.ports[$0] == nil }) else { return nil }
            state.next = number + 1 < capacity ? number + 1 : 1
            state.ports[number] = (configuration.name, counters, configuration.reach)
            state.commands.append(.attach(number, configuration, counters))
            return number
        }
        wakeup.signal()
        return number
    }

    /// Detaches a port and closes its descriptor. Its number is free for another one at once: commands are carried out
    /// in order.
    package func detach(_ number: PortNumber) {
        state.withLock { state in
            state.ports[number] = nil
            state.detached.insert(number)
            state.commands.append(.detach(number))
            state.events.removeAll { $0.port == number }
        }
        wakeup.signal()
        notification.signal()
    }

    /// Returns the ports that were detached since the last call.
    package func takeDetached() -> Set<PortNumber> {
        state.withLock { state in
            defer { state.detached = [] }
            return state.detached
        }
    }

    package func rearm(_ number: PortNumber) { send(.rearm(number)) }

    /// Sends a frame that means nothing to guests out of a port: whoever is not there any more is reported as
    /// unreachable.
    package func probe(_ number: PortNumber) { send(.probe(number)) }

    /// Sends a frame of the switch itself out of one port.
    package func send(_ frame: [UInt8], outOf number: PortNumber) { send(.send(number, frame)) }

    /// Ties an address to a port: frames to it go there, and no other port may use it.
    package func pin(_ address: MACAddress, to number: PortNumber) { send(.pin(address, number)) }

    /// Sets the VLANs of a port, and forgets the addresses that were learned there.
    /// - Parameters:
    ///   - untagged: of its frames without a tag; `PortConfiguration.noVLAN` where it takes none.
    ///   - tagged: those whose frames it sends and takes with a tag.
    package func setVLANs(of number: PortNumber, untagged: UInt16, tagged: [UInt16]) {
        send(.vlans(number, untagged: untagged, tagged: tagged))
    }

    /// Whether VLANs are kept apart; else tags are passed on as they are.
    package func setVLANAware(_ isAware: Bool) { send(.vlanAware(isAware)) }

    /// Whether every frame goes to every port.
    package func setHub(_ isHub: Bool) { send(.hub(isHub)) }

    /// Whether guests are kept from each other.
    package func setIsolation(_ isIsolating: Bool) { send(.isolation(isIsolating)) }

    /// After how many seconds an address that was not seen again is forgotten.
    package func setAgeing(_ seconds: UInt32) { send(.ageing(seconds)) }

    /// The address table as it is now; nil if the forwarder does not answer within a second.
    package func addresses() -> [KnownAddress]? {
        guard let answer = try? Answer<[KnownAddress]>() else { return nil }
        send(.addresses(answer))
        return answer.wait(until: MonotonicClock.now + MonotonicClock.second)
    }

    /// Waits until the forwarder has carried out what it was told so far; where it has no thread yet there is nothing
    /// to wait for. Returns false if it does not within a second.
    package func settle() -> Bool {
        guard state.withLock({ $0.isRunning }) else { return true }
        guard let answer = try? Answer<Bool>() else { return false }
        send(.settle(answer))
        return answer.wait(until: MonotonicClock.now + MonotonicClock.second) ?? false
    }

    /// Tells whose IPv4 addresses are: frames of guests that claim them from elsewhere are dropped, while `takesDHCP`
    /// is set.
    package func note(owners: [AddressOwner]) { send(.owners(owners)) }

    package func setPolicy(_ policy: ServicePolicy) { send(.policy(policy)) }

    /// Sets what guests may not do.
    package func setRules(_ rules: GuestRules) { send(.rules(rules)) }

    /// Takes guests' questions for names that are sent to this service, from now on; nil for none.
    package func setNames(_ service: NameService?) { send(.names(service)) }

    /// Takes the first frame with a guest's question for a name, and the port that it came in by.
    package func takeQuestion() -> (frame: [UInt8], port: PortNumber)? { questions.takeFirst { ($0.copied(), $1) } }

    /// The port by which `address` has last sent to the name service by TCP; 0 if it has not.
    package func port(ofCaller address: IPv4Address) -> PortNumber { callers.port(of: address) }

    /// Sends a frame with an answer to a guest. Returns false if the forwarder is too far behind to take it.
    @discardableResult
    package func sendAnswer(_ frame: [UInt8]) -> Bool {
        let taken = answers.append(frame.rawSpan)
        wakeup.signal()
        return taken
    }

    /// Ends the forwarder's `run`.
    package func stop() { send(.stop) }

    /// The ports with their counters, by number.
    package var ports: [(number: PortNumber, name: String, counters: PortCounters)] {
        state.withLock { $0.ports.map { ($0.key, $0.value.name, $0.value.counters) } }.sorted { $0.0 < $1.0 }
    }

    /// What passed through a port.
    package func counters(of number: PortNumber) -> PortCounters? { state.withLock { $0.ports[number]?.counters } }

    /// The hardware address from which the switch itself sends: probes for loops.
    package static var ownAddress: MACAddress { LoopGuard.source }

    /// Sends a frame from the address service to the guests. Returns false if the forwarder is too far behind to take
    /// it.
    @discardableResult
    package func sendFromService(_ frame: [UInt8]) -> Bool {
        let taken = fromService.append(frame.rawSpan)
        wakeup.signal()
        return taken
    }

    /// Takes the first frame that guests sent to the address service, with the port that it came in by.
    package func takeServiceFrame() -> ServiceFrame? {
        toService.takeFirst { ServiceFrame(bytes: $0.copied(), port: $1) }
    }

    /// How many clients a port leads to; nil for a port that is not attached.
    package func reach(of number: PortNumber) -> PortReach? { state.withLock { $0.ports[number]?.reach } }

    /// Takes what happened since the last call.
    package func takeEvents() -> [PortEvent] {
        state.withLock { state in
            defer { state.events = [] }
            return state.events
        }
    }

    // MARK: The forwarder's side

    /// From now on somebody carries out what is commanded, and until when.
    func setRunning(_ isRunning: Bool) { state.withLock { $0.isRunning = isRunning } }

    func takeCommands() -> [Command] {
        state.withLock { state in
            defer { state.commands = [] }
            return state.commands
        }
    }

    func report(_ event: PortEvent) {
        state.withLock { state in
            // The port may have been detached in the meantime.
            if state.ports[event.port] != nil { state.events.append(event) }
        }
        notification.signal()
    }
}

/// A guest's frame for the address service.
package struct ServiceFrame: Equatable, Sendable {
    package let bytes: [UInt8]
    package let port: PortNumber
}

extension PortEvent {
    package var port: PortNumber {
        switch self {
        case .unreachable(let port, _), .goodbye(let port), .ended(let port, _), .stranger(let port, _),
            .firstFrame(let port), .loop(let port, _), .loopEnded(let port), .offence(let port, _, _):
            port
        }
    }
}

/// What one thread asks of another.
final class Answer<Value: Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)
    private let wakeup: Wakeup

    init() throws(SystemError) { wakeup = try Wakeup() }

    func give(_ value: Value) {
        self.value.withLock { $0 = value }
        wakeup.signal()
    }

    /// The answer, or nil if `deadline` comes first.
    func wait(until deadline: UInt64) -> Value? {
        // A signal ends a wait before its time.
        while MonotonicClock.now < deadline {
            if let given = value.withLock({ $0 }) { return given }
            _ = wakeup.descriptor.wait(for: .readable, until: deadline)
        }
        return value.withLock { $0 }
    }
}
