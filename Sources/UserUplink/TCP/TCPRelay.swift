// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Timing
import Uplink
import Wire

// Theory of operation of the connections themselves: see TCPConnection.
//
// A poll
// ------
//
// The relay has no thread. Its owner locks it and runs, in this order:
//
//     beginPoll       the time of this poll
//     receive         for each segment of a guest, at most 64 a poll
//     serve           at most 8 socket events, listening sockets included
//     finishPoll      due timers, and the end of the poll for all dirty connections
//     drainEffects    what the gateway is to send
//
// A connection that a segment, an event or a timer has touched is dirty. Its ACKs, its writes to the socket and changes
// to the poller's interest wait for `finishPoll`, so that they are made once for a burst of segments. Reads happen on
// an event, and in `finishPoll` for connections that were full and have room again, at most 8 of either kind a poll and
// a megabyte each: that bounds how long other ports of the switch wait.
//
// Timers
// ------
//
// `deadlines` is a heap without removal. Each slot records the deadline of the one entry that counts; entries that do
// not match are discarded when they are due. A deadline is entered at most 30 s ahead, so that entries that are
// obsolete leave the heap in that time. A connection whose deadline moved to later gets its entry again when the old
// one is due.
//
// Memory and fairness
// -------------------
//
// FlowTable bounds the connections; when it is full, the guest with the most loses its oldest. BufferBudget bounds the
// bytes of all buffers and advertised windows together, apart from a first 16 KiB each, and gives each guest a share. A
// connection that gets no memory is slow, and whole.
// Connections are charged to the guest (GuestOwner), not to its addresses.
//
// Relay and gateway
// -----------------
//
// The relay never calls the gateway. It gets what it needs as values: `RelayPolicy`, the owner in `InboundSegment`, the
// neighbor table as an argument. What the gateway has to send it returns as `Effect`s.

/// All TCP connections of the guests: finds the one that a segment or event belongs to, opens and removes them.
///
/// Not thread-safe: its owner's lock protects it and its connections.
final class TCPRelay {
    /// A connection, with what the relay keeps about it.
    struct Slot {
        var connection: TCPConnection?
        /// Counts the connections of this slot, so that events and deadlines of an earlier one are recognized.
        var generation: UInt32 = 0
        /// What the poller watches the socket for; nil if it does not.
        var interest: Readiness?
        /// The deadline in the heap that counts; `distantFuture` for none.
        var deadline = Instant.distantFuture
        /// It is in the list `dirty`.
        var isDirty = false
        /// The published port whose client has opened it; nil if a guest has.
        var publishedPort: HostPort?
    }

    /// Default bound on the bytes of all stream buffers together.
    static let defaultMemory = 256 << 20
    /// How far ahead a deadline is entered in the heap at most.
    private static let deadlineHorizon = TimeAmount.seconds(30)
    /// Socket events handled per poll, and as many reads without an event.
    private static let eventBatch = 8

    var context: TCPContext
    let policy: RelayPolicy
    /// The outbound path; nil: the system's routes.
    var route: OutboundRoute?
    let gatewayHardware: MACAddress
    private let dnsQueue: DNSConnectionQueue?
    let poller: Poller
    var table: FlowTable
    /// By the flow's index in `table`.
    var slots: [Slot] = []
    private(set) var deadlines = DeadlineQueue()
    /// Indices of connections to finish at the end of the poll.
    private var dirty: [Int] = []
    /// Those being finished; empty between polls. The two lists are swapped, so that none is allocated.
    private var finishing: [Int] = []
    var listeners = TCPListeners()
    var effects: [Effect] = []

    /// - Parameters:
    ///   - dnsQueue: takes connections to the DNS proxy.
    ///   - memory: bytes of all stream buffers together.
    init(
        _ options: NATGateway.Options, dnsQueue: DNSConnectionQueue? = nil, to output: GuestOutput,
        memory: Int = TCPRelay.defaultMemory
    ) throws(SystemError) {
        self.dnsQueue = dnsQueue
        poller = try Poller()
        context = TCPContext(output: output, mtu: options.mtu, memory: BufferBudget(limit: memory))
        policy = RelayPolicy(options)
        route = options.outbound.map { OutboundRoute(outbound: $0) }
        gatewayHardware = options.hardware
        table = FlowTable(capacity: max(16, options.flowLimit * 3 / 4))
    }

    /// Readable while `serve` has something to do.
    var descriptor: Descriptor { _read { yield poller.descriptor } }

    /// Current number of connections.
    var count: Int { table.count }

    /// Current size of all stream buffers, in bytes.
    var memoryUsed: Int { context.memory.used }

    /// Retransmissions to guests so far, each of one range of the stream.
    var retransmissions: Int { context.retransmissions }

    // MARK: Polls

    func beginPoll(now: Instant) {
        context.now = now
        context.readBudget = TCPRelay.eventBatch
    }

    /// Handles a batch of socket events. If there are more, `descriptor` stays readable.
    /// - Returns: whether a descriptor that `watch` was given is ready.
    @discardableResult
    func serve(_ neighbors: GuestNeighbors) -> Bool {
        var isOtherReady = false
        for event in 0..<poller.wait(until: context.now, now: context.now, atMost: TCPRelay.eventBatch) {
            let (token, ready) = poller.event(event)
            if token == TCPRelay.otherToken {
                isOtherReady = true
                continue
            }
            if token & TCPListeners.tokenFlag != 0 {
                listeners.accept(token, poller, now: context.now) { socket, peer, listener in
                    openInbound(socket, from: peer, at: listener, neighbors)
                }
                continue
            }
            guard let (index, connection) = find(token) else { continue }
            let error = connection.socketReady(ready, &context)
            if error != 0 { connectFailed(connection, error) }
            markDirty(index)
        }
        return isOtherReady
    }

    /// The token of what `watch` was given: of no listener and no connection.
    private static let otherToken = UInt64.max

    /// Watches another descriptor, which makes the relay's readable and stays the caller's.
    func watch(_ other: borrowing Descriptor) throws(SystemError) {
        try poller.add(other.raw, token: TCPRelay.otherToken, for: .readable)
    }

    /// The end of a poll: serves due timers and finishes dirty connections.
    func finishPoll(_ neighbors: GuestNeighbors) {
        listeners.resume(poller, now: context.now)
        while let first = deadlines.first, first.deadline <= context.now {
            _ = deadlines.removeFirst()
            guard let (index, connection) = find(first.token), slots[index].deadline == first.deadline else { continue }
            slots[index].deadline = .distantFuture
            if connection.deadline <= context.now {
                searchGuest(of: connection, neighbors)
                let error = connection.timerExpired(&context)
                if error != 0 { connectFailed(connection, error) }
            }
            markDirty(index)
        }
        swap(&dirty, &finishing)
        for index in finishing {
            guard let connection = slots[index].connection else { continue }
            slots[index].isDirty = false
            connection.finishPoll(isReadWatched: slots[index].interest?.contains(.readable) == true, &context)
            settle(index, connection)
        }
        finishing.removeAll(keepingCapacity: true)
    }

    /// Hands over what the gateway is to send, and clears the list.
    func drainEffects(_ body: (Effect) -> Void) {
        if effects.isEmpty { return }
        for effect in effects { body(effect) }
        effects.removeAll(keepingCapacity: true)
    }

    /// To be called about once a second: frees memory that is not needed.
    func trim() {
        for index in slots.indices { slots[index].connection?.trim(&context) }
    }

    /// When the next poll is due if nothing happens before; `distantFuture` for never.
    func nextDeadline() -> Instant { min(listeners.resumeDeadline, nextConnectionDeadline()) }

    private func nextConnectionDeadline() -> Instant {
        while let first = deadlines.first {
            guard let (index, connection) = find(first.token), slots[index].deadline == first.deadline else {
                _ = deadlines.removeFirst()
                continue
            }
            // A poll for nothing costs less than another entry, if it is due so soon.
            if horizon(connection) <= first.deadline
                || first.deadline <= context.now + TCPConnection.delayedAckTimeout
            {
                return first.deadline
            }
            _ = deadlines.removeFirst()
            slots[index].deadline = .distantFuture
            scheduleTimer(index, connection)
        }
        return .distantFuture
    }

    /// The deadline to enter for a connection.
    private func horizon(_ connection: TCPConnection) -> Instant {
        min(connection.deadline, context.now + TCPRelay.deadlineHorizon)
    }

    /// Enters a connection's deadline, if it is earlier than the one in the heap.
    private func scheduleTimer(_ index: Int, _ connection: TCPConnection) {
        let deadline = horizon(connection)
        guard deadline < slots[index].deadline else { return }
        slots[index].deadline = deadline
        deadlines.insert(deadline, token(index))
    }

    func markDirty(_ index: Int) {
        if slots[index].isDirty { return }
        slots[index].isDirty = true
        dirty.append(index)
    }

    /// After a connection was finished: updates the poller and the timer, or removes it.
    private func settle(_ index: Int, _ connection: TCPConnection) {
        if connection.isClosed { return remove(index, connection) }
        let interest = connection.interest
        if interest != slots[index].interest {
            if let interest {
                if slots[index].interest == nil {
                    if (try? poller.add(connection.raw, token: token(index), for: interest)) == nil {
                        connection.reset(&context)
                        return remove(index, connection)
                    }
                } else {
                    poller.modify(connection.raw, token: token(index), for: interest)
                }
            } else {
                poller.remove(connection.raw)
            }
            slots[index].interest = interest
        }
        if connection.isInTimeWait { connection.closeSocket() }
        scheduleTimer(index, connection)
    }

    // MARK: Slots

    /// Identifies the connection in a slot. Never the token of a listener, whatever the generation.
    static func token(_ index: Int, generation: UInt32) -> UInt64 {
        UInt64(generation & 0x7fff_ffff) << 32 | UInt64(index)
    }

    private func token(_ index: Int) -> UInt64 { TCPRelay.token(index, generation: slots[index].generation) }

    private func find(_ token: UInt64) -> (index: Int, TCPConnection)? {
        let index = Int(token & 0xffff_ffff)
        guard index < slots.count, self.token(index) == token, let connection = slots[index].connection else {
            return nil
        }
        return (index, connection)
    }

    func add(_ connection: TCPConnection, from publishedPort: HostPort? = nil) {
        let (index, evicted) = table.insert(connection.endpoints.key, by: connection.owner, now: context.now)
        if index == slots.count { slots.append(Slot()) }
        if evicted, let old = slots[index].connection {
            old.reset(&context)
            vacate(index, old)
        }
        slots[index].connection = connection
        slots[index].generation &+= 1
        slots[index].publishedPort = publishedPort
        markDirty(index)
    }

    private func remove(_ index: Int, _ connection: TCPConnection) {
        table.remove(connection.endpoints.key)
        vacate(index, connection)
    }

    private func vacate(_ index: Int, _ connection: TCPConnection) {
        if slots[index].interest != nil { poller.remove(connection.raw) }
        if slots[index].isDirty { dirty.removeAll { $0 == index } }
        slots[index] = Slot(generation: slots[index].generation)
    }

    // MARK: Segments of guests

    /// Whether a segment belongs to a connection, though its destination is refused: a published port leads to the
    /// guest from there, or a pin has allowed it. A pin is of one hardware address, and so is what it has opened:
    /// another guest with the same IP address ends it. So does a SYN for a connection in TIME-WAIT, which does not
    /// belong to it.
    func hasConnection(_ key: FlowKey, isSYN: Bool, from hardware: MACAddress) -> Bool {
        guard let index = table.find(key, now: context.now), let connection = slots[index].connection else {
            return false
        }
        guard let holder = connection.endpoints.guestHardware else { return slots[index].publishedPort != nil }
        guard holder != hardware || isSYN && connection.isInTimeWait else { return true }
        connection.reset(&context)
        remove(index, connection)
        return false
    }

    /// Handles a segment of a guest. It may open a connection.
    /// - Parameter target: where a proxy is to connect the guest.
    func receive(
        _ frame: RawSpan, _ inbound: InboundSegment, target: (InboundSegment) -> ProxyHandshake.Target? = { _ in nil }
    ) {
        guard let segment = try? TCPView(frame.extracting(inbound.range)) else { return }
        let isSYN = segment.flags.isInitialSYN
        if let index = table.find(inbound.key, now: context.now), let connection = slots[index].connection {
            // Another guest that has got the address does not continue the connection.
            let isOther = connection.endpoints.guestHardware.map { $0 != inbound.hardware } ?? false
            guard isOther || isSYN && connection.isInTimeWait else {
                connection.receive(segment, from: inbound.hardware, &context)
                return markDirty(index)
            }
            connection.reset(&context)
            remove(index, connection)
        }
        let endpoints = endpoints(of: inbound)
        guard isSYN else { return context.sendReset(inReplyTo: segment, endpoints) }
        open(endpoints, segment, inbound, target)
    }

    func endpoints(of inbound: InboundSegment) -> TCPEndpoints {
        TCPEndpoints(key: inbound.key, gatewayHardware: gatewayHardware, guestHardware: inbound.hardware)
    }

    private func open(
        _ endpoints: TCPEndpoints, _ syn: borrowing TCPView, _ inbound: InboundSegment,
        _ target: (InboundSegment) -> ProxyHandshake.Target?
    ) {
        let proxy = policy.proxy(for: endpoints.key)
        do throws(SystemError) {
            let isProbe = inbound.hops < TCPConnection.probeHops && proxy == nil
            let socket = try connect(endpoints, hops: isProbe ? inbound.hops - 1 : nil)
            // A destination on this host has answered by now.
            let ready = socket.wait(for: .writable, until: .distantPast)
            let owner = inbound.owner ?? .address(inbound.key.guest)
            let connection = TCPConnection(endpoints, of: owner, connecting: socket, syn: syn, context)
            connection.isProbe = isProbe
            if let proxy, let target = target(inbound) {
                connection.proxy = ProxyHandshake(proxy, to: target, port: endpoints.key.remotePort)
            }
            if inbound.check != .none { connection.check = NameCheck(inbound.check) }
            add(connection)
            let error = ready.isEmpty ? 0 : connection.socketReady(ready, &context)
            if error != 0 { connectFailed(connection, error) }
        } catch {
            if proxy != nil && !ConnectFailure.isShortage(error.code) { context.proxyFailed(.unreachable(error.code)) }
            refuse(syn, endpoints, error.code)
        }
    }

    /// Starts to connect to a guest's destination. The caller owns the socket.
    /// - Parameter hops: TTL or hop limit of the SYN, of which errors are kept; nil for the system's.
    private func connect(_ endpoints: TCPEndpoints, hops: UInt8?) throws(SystemError) -> Descriptor {
        if let dnsQueue, policy.isDNS(endpoints.key) { return try dnsQueue.connect(of: endpoints) }
        let destination = policy.proxy(for: endpoints.key)?.address ?? policy.destination(of: endpoints.key)
        let socket = try Socket.tcp(ipv6: !destination.isIPv4)
        socket.prepareForRelay()
        if let route { try route.bind(socket, for: destination.address) }
        if let hops {
            socket.setHops(hops, ipv6: endpoints.isIPv6)
            socket.reportErrors(true, ipv6: endpoints.isIPv6)
        }
        try socket.connect(to: destination)
        return socket
    }

    /// A guest has answered a segment with an ICMP error. Its client is reset if that was the SYN; later errors do not
    /// end a connection (RFC 9293 section 3.9.2.2).
    func guestUnreachable(_ key: FlowKey, sequence: UInt32) {
        guard let index = table.find(key, now: context.now), let connection = slots[index].connection,
            connection.isRefused(at: sequence)
        else { return }
        connection.resetSocket(&context)
        markDirty(index)
    }
}
