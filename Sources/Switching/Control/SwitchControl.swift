// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// The control plane's side of a switch, for all threads but the workers: attaches and detaches ports, changes
/// settings, exchanges frames with the services, and reports events.
///
/// Commands are executed in order by the first worker, mostly within a millisecond; nothing here waits for that but
/// `addresses` and `barrier`.
package final class SwitchControl: Sendable {
    private struct State {
        /// The first worker has a thread.
        var isRunning = false
        var commands: [SwitchCommand] = []
        var events: [PortEvent] = []
        var ports: [PortNumber: AttachedPort] = [:]
        /// Ports that were detached since the last call of `takeDetached`.
        var detached: Set<PortNumber> = []
        var next: PortNumber = 1
    }

    /// Ports that one switch can have, the services' included.
    package static let portCapacity = 1024
    /// The services' port, which is always attached.
    package static let servicePort: PortNumber = 0

    private let state = Mutex(State())
    /// See `Fabric`. Here, because it outlives the workers: threads of devices lock it at any time.
    let topologyLock = ReadWriteLock()
    let workers = Mutex(WeakFabric())
    /// Wakes the first worker.
    let wakeup: Wakeup
    /// Becomes readable when there are events, or frames for a service.
    package let notification: Wakeup
    let toService = ServiceFrameRing()
    let fromService = ServiceFrameRing()
    // Apart from DHCP's, which a flood of queries must not delay.
    let nameQueries = ServiceFrameRing()
    let nameReplies = ServiceFrameRing()
    // Apart from both, because a file is many datagrams.
    let bootRequests = ServiceFrameRing()
    let bootReplies = ServiceFrameRing()
    // Its replies go by `fromService`.
    let routerRequests = ServiceFrameRing(slots: 64)
    let callers = CallerPorts()
    /// The counters of the services' port.
    package let serviceCounters = PortCounters()

    /// A switch without workers (`ForwardingWorker.start`).
    package init() throws(SystemError) {
        wakeup = try Wakeup()
        notification = try Wakeup()
    }

    private func submit(_ command: SwitchCommand) {
        state.withLock { $0.commands.append(command) }
        wakeup.signal()
    }

    /// Attaches a port and takes over its descriptor. Returns its number, or nil if all are taken; the descriptor is
    /// still the caller's then.
    package func attach(_ configuration: PortConfiguration) -> PortNumber? {
        let counters = PortCounters()
        let number: PortNumber? = state.withLock { state in
            // In rotation, so that an event of a detached port is not taken for another port's.
            let capacity = PortNumber(SwitchControl.portCapacity)
            let numbers = [state.next..<capacity, 1..<state.next].joined()
            guard let number = numbers.first(where: { state.ports[$0] == nil }) else { return nil }
            state.next = number + 1 < capacity ? number + 1 : 1
            state.ports[number] = AttachedPort(configuration, counters)
            state.commands.append(.attach(number, configuration, counters))
            return number
        }
        wakeup.signal()
        return number
    }

    /// Detaches a port and closes its descriptor. Its number is free for another one at once, because commands are
    /// executed in order.
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

    /// Has `unreachable`, `goodbye` and `firstFrame` events of a port reported again; answers the oldest `unknownPeer`
    /// event of a listener.
    package func rearm(_ number: PortNumber) { submit(.rearm(number)) }

    /// Sends a frame that guests ignore out of a port: a peer that has gone is reported as unreachable.
    package func probe(_ number: PortNumber) { submit(.probe(number)) }

    /// Sends a frame of the switch itself out of one port.
    package func sendFrame(_ frame: [UInt8], by number: PortNumber) { submit(.send(number, frame)) }

    /// Makes an address a static one of a port: frames to it go there, and no other port may use it.
    package func addStatic(_ address: MACAddress, at number: PortNumber) { submit(.addStatic(address, number)) }

    /// Sets the VLANs of a port, and removes the addresses that were learned there.
    /// - Parameters:
    ///   - untagged: of its frames without a tag; `PortConfiguration.noVLAN` if it takes none.
    ///   - tagged: those whose frames it sends and takes with a tag.
    package func setVLANs(of number: PortNumber, untagged: UInt16, tagged: [UInt16]) {
        submit(.vlans(number, untagged: untagged, tagged: tagged))
    }

    /// Whether VLANs are kept apart (802.1Q); otherwise tags are passed on as they are.
    package func setVLANAware(_ isAware: Bool) { submit(.vlanAware(isAware)) }

    /// Whether every frame goes to every port.
    package func setHub(_ isHub: Bool) { submit(.hub(isHub)) }

    /// Whether guests are kept from each other.
    package func setIsolation(_ isIsolating: Bool) { submit(.isolation(isIsolating)) }

    /// Whether the guests at a port are kept from all others.
    package func setIsolation(_ isIsolated: Bool, of number: PortNumber) { submit(.isolatePort(number, isIsolated)) }

    /// Limits the rate of a port, each way; nil for no limit.
    package func setLimit(_ limit: RateLimit?, of number: PortNumber) { submit(.limit(number, limit)) }

    /// Captures that may run at once.
    package static var captureCapacity: Int { Captures.capacity }

    /// Has a capture record the frames of the selected ports, also of those that are attached later; nil ends the
    /// capture in this slot.
    package func setCapture(_ slot: Int, _ tap: CaptureTap?, _ selection: CaptureSelection) {
        precondition((0..<Captures.capacity).contains(slot))
        submit(.capture(slot, tap, selection))
    }

    /// After how many seconds an address that was not seen again is removed.
    package func setAgeing(_ time: TimeAmount) { submit(.ageing(time)) }

    /// The address table as it is now; nil if the first worker does not answer within a second.
    package func addresses() -> [KnownAddress]? {
        guard let promise = try? Promise<[KnownAddress]>() else { return nil }
        submit(.addresses(promise))
        return promise.wait(until: BootClock.now + .seconds(1))
    }

    /// The IPv6 addresses that guests have used, up to a bound; nil if the first worker does not reply within a second.
    package func sources() -> [KnownSource]? {
        guard let promise = try? Promise<[KnownSource]>() else { return nil }
        submit(.sources(promise))
        return promise.wait(until: BootClock.now + .seconds(1))
    }

    /// Waits until the first worker has executed all commands so far; returns at once if it has no thread. Returns
    /// false if that takes longer than a second.
    package func barrier() -> Bool {
        guard state.withLock({ $0.isRunning }) else { return true }
        guard let promise = try? Promise<Bool>() else { return false }
        submit(.barrier(promise))
        return promise.wait(until: BootClock.now + .seconds(1)) ?? false
    }

    /// Binds leased IPv4 addresses to their holders: other guests' frames that claim these are dropped while
    /// `takesDHCP` is set.
    package func bind(_ leases: [LeaseBinding]) { submit(.bindings(leases)) }

    /// Sets the IPv4 addresses that are reserved for guests, which bind as leases do (`bind`).
    package func reserve(_ addresses: [IPv4Address: MACAddress]) { submit(.reserved(addresses)) }

    /// Sets the IPv6 addresses that are reserved for guests: no other guest may use them.
    package func reserve(_ addresses: [IPv6Address: MACAddress]) { submit(.reserved6(addresses)) }

    /// Sets the frames of guests that the services receive.
    package func setPolicy(_ policy: ServicePolicy) { submit(.policy(policy)) }

    /// Sets the rules for guests.
    package func setRules(_ rules: GuestRules) { submit(.rules(rules)) }

    /// Diverts guests' DNS queries to this service from now on; nil for none.
    package func setNameService(_ service: NameService?) { submit(.names(service)) }

    /// Removes the first frame with a guest's DNS query, and returns it with the port that it came in by.
    package func removeNameQuery() -> (frame: [UInt8], port: PortNumber)? {
        nameQueries.removeFirst { ($0.copied(), $1) }
    }

    /// The port by which `address` has last sent to the name service over TCP; 0 if it never has. An IPv4 address is in
    /// the low bits.
    package func port(ofCaller address: IPv6Address) -> PortNumber { callers.port(of: address) }

    /// Sends a frame with a DNS reply to a guest, at the next `wakeForNameReplies`. Returns false if the ring is full.
    @discardableResult
    package func sendNameReply(_ frame: [UInt8]) -> Bool { nameReplies.append(frame.rawSpan) }

    /// Wakes the worker that sends the replies.
    package func wakeForNameReplies() { wakeup.signal() }

    /// Diverts guests' TFTP datagrams to the gateway to this service from now on; nil for none.
    package func setBootService(_ service: BootService?) { submit(.boot(service)) }

    /// Removes the first frame with a guest's TFTP datagram, and returns it with the port that it came in by.
    package func removeBootRequest() -> (frame: [UInt8], port: PortNumber)? {
        bootRequests.removeFirst { ($0.copied(), $1) }
    }

    /// Sends a frame with a TFTP datagram to a guest. Returns false if the ring is full.
    @discardableResult
    package func sendBootReply(_ frame: [UInt8]) -> Bool {
        let taken = bootReplies.append(frame.rawSpan)
        wakeup.signal()
        return taken
    }

    /// Copies guests' router solicitations and DHCPv6 messages to the router service from now on, or no longer.
    package func setRouterService(_ isThere: Bool) { submit(.router(isThere)) }

    /// Removes the first frame with such a request.
    package func removeRouterRequest() -> ServiceFrame? {
        routerRequests.removeFirst { ServiceFrame(bytes: $0.copied(), port: $1) }
    }

    /// Ends the workers.
    package func stop() { submit(.stop) }

    /// The ports with their counters, by number.
    package var ports: [(number: PortNumber, name: String, counters: PortCounters)] {
        state.withLock { $0.ports.map { ($0.key, $0.value.name, $0.value.counters) } }.sorted { $0.0 < $1.0 }
    }

    /// The counters of a port; nil if it is not attached.
    package func counters(of number: PortNumber) -> PortCounters? { state.withLock { $0.ports[number]?.counters } }

    /// The hardware address from which the switch itself sends loop probes and solicitations.
    package static var ownAddress: MACAddress { LoopDetector.source }

    /// Sends a frame from a service to guests. Returns false if the ring is full.
    @discardableResult
    package func sendFromService(_ frame: [UInt8]) -> Bool {
        let taken = fromService.append(frame.rawSpan)
        wakeup.signal()
        return taken
    }

    /// Removes the first frame of a guest for the services, and returns it.
    package func removeServiceFrame() -> ServiceFrame? {
        toService.removeFirst { ServiceFrame(bytes: $0.copied(), port: $1) }
    }

    /// How many clients a port leads to; nil for a port that is not attached.
    package func reach(of number: PortNumber) -> PortReach? { state.withLock { $0.ports[number]?.reach } }

    /// What a port is to the network; nil for a port that is not attached.
    package func role(of number: PortNumber) -> PortRole? { state.withLock { $0.ports[number]?.role } }

    /// The name and group (`PortConfiguration.group`) of a port; nil for a port that is not attached.
    package func identity(of number: PortNumber) -> (name: String, group: UInt16)? {
        state.withLock { $0.ports[number].map { ($0.name, $0.group) } }
    }

    /// Returns the events since the last call.
    package func takeEvents() -> [PortEvent] {
        state.withLock { state in
            defer { state.events = [] }
            return state.events
        }
    }

    // MARK: For workers

    /// Sets whether the first worker has a thread that executes commands.
    func setRunning(_ isRunning: Bool) { state.withLock { $0.isRunning = isRunning } }

    func takeCommands() -> [SwitchCommand] {
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

/// What the control plane stores of an attached port.
private struct AttachedPort {
    let name: String
    let counters: PortCounters
    let reach: PortReach
    let role: PortRole
    let group: UInt16

    init(_ configuration: PortConfiguration, _ counters: PortCounters) {
        name = configuration.name
        self.counters = counters
        reach = configuration.reach
        role = configuration.role
        group = configuration.group
    }
}

/// A guest's frame for the services.
package struct ServiceFrame: Equatable, Sendable {
    /// The frame, without VLAN tags.
    package let bytes: [UInt8]
    /// The port that it came in by.
    package let port: PortNumber
}
