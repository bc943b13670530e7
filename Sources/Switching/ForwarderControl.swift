// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// The other threads' side of a forwarder: attaches and detaches ports, hands frames of the address service in, tells what happened.
package final class ForwarderControl: Sendable {
    enum Command: Sendable {
        case attach(PortNumber, PortConfiguration, PortCounters)
        case detach(PortNumber)
        /// Send another `unreachable` or `firstFrame` event when it happens again.
        case rearm(PortNumber)
        case pin(MACAddress, PortNumber)
        case policy(ServicePolicy)
        case stop
    }

    private struct State {
        var commands: [Command] = []
        var events: [PortEvent] = []
        var ports: [PortNumber: (name: String, counters: PortCounters)] = [:]
    }

    /// Ports that one forwarder can have.
    package static let portCapacity = 1024
    /// The service's port is always there.
    package static let servicePort: PortNumber = 0

    private let state = Guarded(State())
    /// Wakes the forwarder.
    let wakeup: Wakeup
    /// Becomes readable when `events` or frames for the service have come.
    package let notification: Wakeup
    let toService = FrameRing()
    let fromService = FrameRing()
    package let serviceCounters = PortCounters()

    package init() throws(SystemError) {
        wakeup = try Wakeup()
        notification = try Wakeup()
    }

    private func send(_ command: Command) {
        state.withLock { $0.commands.append(command) }
        wakeup.signal()
    }

    /// Attaches a port and takes over its descriptor. Returns its number, or nil when all are taken; the descriptor is then still the caller's.
    package func attach(_ configuration: PortConfiguration) -> PortNumber? {
        let counters = PortCounters()
        let number: PortNumber? = state.withLock { state in
            guard let number = (1..<PortNumber(ForwarderControl.portCapacity)).first(where: { state.ports[$0] == nil }) else { return nil }
            state.ports[number] = (configuration.name, counters)
            state.commands.append(.attach(number, configuration, counters))
            return number
        }
        wakeup.signal()
        return number
    }

    /// Detaches a port and closes its descriptor. Its number is free for another one at once: commands are carried out in order.
    package func detach(_ number: PortNumber) {
        state.withLock { state in
            state.ports[number] = nil
            state.commands.append(.detach(number))
            state.events.removeAll { $0.port == number }
        }
        wakeup.signal()
    }

    package func rearm(_ number: PortNumber) { send(.rearm(number)) }

    /// Ties an address to a port: frames to it go there, and no other port may use it.
    package func pin(_ address: MACAddress, to number: PortNumber) { send(.pin(address, number)) }

    package func setPolicy(_ policy: ServicePolicy) { send(.policy(policy)) }

    /// Ends the forwarder's `run`.
    package func stop() { send(.stop) }

    /// The ports with their counters, by number.
    package var ports: [(number: PortNumber, name: String, counters: PortCounters)] {
        state.withLock { $0.ports.map { ($0.key, $0.value.name, $0.value.counters) } }.sorted { $0.0 < $1.0 }
    }

    /// Sends a frame from the address service to the guests. Returns false if the forwarder is too far behind to take it.
    @discardableResult
    package func sendFromService(_ frame: [UInt8]) -> Bool {
        let taken = fromService.append(frame.rawSpan)
        wakeup.signal()
        return taken
    }

    /// Takes the first frame that guests sent to the address service.
    package func takeServiceFrame() -> [UInt8]? { toService.takeFirst { $0.copied() } }

    /// Takes what happened since the last call.
    package func takeEvents() -> [PortEvent] {
        state.withLock { state in
            defer { state.events = [] }
            return state.events
        }
    }

    // MARK: The forwarder's side

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

extension PortEvent {
    package var port: PortNumber {
        switch self {
        case .unreachable(let port, _), .goodbye(let port), .firstFrame(let port): port
        }
    }
}
