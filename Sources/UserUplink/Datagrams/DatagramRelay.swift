// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Timing
import Wire

// Theory of operation
// ===================
//
// A guest's UDP port, and each identifier of its pings, has one socket of the host, whatever the destinations
// (DatagramFlow). The relay has no thread. Its owner locks it and runs, in this order:
//
//     beginPoll       the time of this poll
//     receive         for each datagram of a guest, at most 64 a poll: appended to `queue`
//     serve           at most 8 sockets with datagrams or errors, 32 datagrams of each, or 4 that the system has joined
//     finishPoll      sends what is queued and what has waited for a guest; ends idle flows
//     drainEffects    what the gateway is to send (DatagramRelay+Reports)
//
// Datagrams that follow each other from one port, with equal fields of the IP header, are sent in one system call.
// Those of equal length and to one peer are one message (UDP_SEGMENT). The system may join what it receives likewise
// (UDP_GRO); each datagram of it is a frame for the guest.
//
// Which datagrams reach a guest
// -----------------------------
//
// From an address that its port has sent to, by default (RFC 4787 REQ-8), or from any; and only if the policy would let
// the guest send there. The gateway decides about the policy, the relay gets its judgement as a function.
//
// Published ports
// ---------------
//
// A published port of the host has one socket (DatagramListener), which reports the local address of each datagram. A
// client appears to the guest by its own address and port (DatagramClients), or as the gateway if the guest's kernel
// would not accept that. What the guest sends to a client's address from the published port goes back by the listener.
//
// Errors
// ------
//
// A socket keeps the errors that were received for its datagrams (IP_RECVERR). They become ICMP messages from the same
// router to the guest, which quote the guest's datagram. What this host finds out itself becomes a message of the
// gateway. A pending error makes the next call of the socket fail, so that all errors are taken before it is repeated.
//
// Bounds
// ------
//
// FlowTable bounds the flows; when it is full, or the process has no more descriptors, the guest with the most loses
// the one that was idle longest. Addresses that may answer are bounded in all and for each flow (PeerFilter), and so
// are clients (DatagramClients) and datagrams for guests that have not answered ARP yet (WaitingDatagrams).

/// All UDP ports and pings of guests, and the published ports: finds the flow that a datagram belongs to, opens and
/// ends flows.
///
/// Not thread-safe: its owner's lock protects it and its flows.
final class DatagramRelay {
    struct Slot {
        var flow: DatagramFlow?
        /// Counts the flows of this slot, so that events of an earlier one are recognized.
        var generation: UInt32 = 0
    }

    /// A queued datagram, for the errors of sending it.
    struct Pending {
        let key: FlowKey
        let hardware: MACAddress
        let hops: UInt8
    }

    /// Sockets served in a poll, and the bytes after which no further one is. A datagram counts as `leastCost` bytes at
    /// least.
    private static let eventBatch = 8
    private static let byteBatch = 1 << 20
    static let leastCost = 4096
    /// Between two searches for idle flows.
    static let sweepInterval = TimeAmount.seconds(10)
    /// Errors taken from a socket at a time.
    private static let errorBatch = 32
    /// Addresses that may answer, of all flows together, besides the first of each.
    private static let peerCapacity = 65_536

    let output: GuestOutput
    let policy: RelayPolicy
    /// The outbound path; nil: the system's routes.
    var route: OutboundRoute?
    let gatewayHardware: MACAddress
    let mtu: Int
    /// Which datagrams reach a guest's port.
    let filtering: DatagramFiltering
    let poller: Poller
    var now = Instant.distantPast
    var table: FlowTable
    /// By the flow's index in `table`.
    private(set) var slots: [Slot] = []
    private var peerShare = FairShare(capacity: DatagramRelay.peerCapacity)
    var nextSweep = Instant.distantFuture
    var buffer: DatagramBuffer
    private var queue = DatagramQueue()
    /// Those in `queue`, and the flow that sends them.
    private var pending: [Pending] = []
    private var sender: DatagramSocket?
    /// The published ports. An ended one leaves its place empty, because tokens are indices.
    var listeners: [DatagramListener?] = []
    var clients = DatagramClients()
    var waiting = WaitingDatagrams()
    /// Clients that have not reached their guest, until the owner takes them.
    var unreached = UnreachedGuests()
    /// The system has refused a socket for pings, since the owner's last request.
    var arePingsForbidden = false
    var effects: [Effect] = []
    /// Datagrams from outside that were dropped, until the owner takes them.
    var drops: [NATDropReason: Int] = [:]

    /// - Throws: if the host does not give descriptors and memory.
    init(_ options: NATGateway.Options, to output: GuestOutput) throws(SystemError) {
        self.output = output
        policy = RelayPolicy(options)
        route = options.outbound.map { OutboundRoute(outbound: $0) }
        gatewayHardware = options.hardware
        mtu = options.mtu
        filtering = options.filtering
        poller = try Poller()
        buffer = try DatagramBuffer()
        table = FlowTable(capacity: max(16, options.flowLimit / 4))
        pending.reserveCapacity(DatagramQueue.capacity)
    }

    /// Readable while `serve` has something to do.
    var descriptor: Descriptor { _read { yield poller.descriptor } }

    /// Current number of flows, and of those that are UDP ports of guests.
    var count: Int { table.count }
    private(set) var portCount = 0

    // MARK: Polls

    func beginPoll(now: Instant) { self.now = now }

    /// Receives from a batch of sockets. If there are more, `descriptor` stays readable.
    /// - Parameter allows: whether the policy lets datagrams of a flow pass.
    func serve(_ neighbors: GuestNeighbors, allows: (FlowKey) -> Bool) {
        var bytes = 0
        for event in 0..<poller.wait(until: now, now: now, atMost: DatagramRelay.eventBatch) {
            let (token, ready) = poller.event(event)
            guard bytes < DatagramRelay.byteBatch else { return }
            if token & DatagramRelay.listenerFlag != 0 {
                let index = Int(token & ~DatagramRelay.listenerFlag)
                guard let listener = listeners[index] else { continue }
                if ready.contains(.hangup) { _ = takeErrors(of: listener) }
                if ready.contains(.readable) { bytes += receive(at: index, listener, neighbors) }
                continue
            }
            guard let (index, flow) = find(token) else { continue }
            if ready.contains(.hangup) { _ = takeErrors(of: flow) }
            if ready.contains(.readable) { bytes += receive(from: flow, index, neighbors, allows) }
        }
    }

    /// The end of a poll: sends what is queued, and ends idle flows.
    func finishPoll(_ neighbors: GuestNeighbors) {
        flush()
        serveWaiting(neighbors)
        guard nextSweep <= now else { return }
        let second = now.coarse
        for index in slots.indices {
            guard let flow = slots[index].flow, second - table.lastSeen(index) >= flow.lifetime else { continue }
            remove(index, flow)
        }
        clients.expire(now: now)
        nextSweep = table.count + clients.count > 0 ? now + DatagramRelay.sweepInterval : .distantFuture
    }

    /// When the next poll is due if nothing happens before; `distantFuture` for never.
    var nextDeadline: Instant { min(nextSweep, waiting.nextRequest) }

    // MARK: Flows

    private func token(_ index: Int) -> UInt64 { TCPRelay.token(index, generation: slots[index].generation) }

    private func find(_ token: UInt64) -> (index: Int, DatagramFlow)? {
        let index = Int(token & 0xffff_ffff)
        guard index < slots.count, self.token(index) == token, let flow = slots[index].flow else { return nil }
        return (index, flow)
    }

    func remove(_ index: Int, _ flow: DatagramFlow) {
        table.remove(flow.key)
        vacate(index, flow)
    }

    private func vacate(_ index: Int, _ flow: DatagramFlow) {
        if sender === flow { flush() }
        poller.remove(flow.socket.raw)
        for _ in 0..<flow.peers.count { peerShare.remove(flow.owner) }
        if flow.isUDP { portCount -= 1 }
        slots[index].flow = nil
    }

    /// Ends the flow that FlowTable would evict. Returns false if there is none.
    private func evict() -> Bool {
        guard let index = table.victim, let flow = slots[index].flow else { return false }
        remove(index, flow)
        return true
    }

    private func makeSocket(_ key: FlowKey) throws(SystemError) -> Descriptor {
        let socket = try makeUnboundSocket(key)
        if let route, !isOnHost(key) { try route.outbound.bind(socket, ipv6: key.isIPv6) }
        return socket
    }

    private func makeUnboundSocket(_ key: FlowKey) throws(SystemError) -> Descriptor {
        if key.protocolNumber == IPProtocol.udp { return try Socket.udp(ipv6: key.isIPv6) }
        do throws(SystemError) {
            return try Socket.echo(ipv6: key.isIPv6)
        } catch {
            if ConnectFailure.isShortage(error.code) { throw error }
            arePingsForbidden = true
            // A system without such sockets is reported as one that does not permit them.
            throw SystemError(code: Errno.accessDenied, error.operation)
        }
    }

    private func openSocket(_ inbound: InboundDatagram) throws(SystemError) -> Descriptor {
        do throws(SystemError) {
            return try makeSocket(inbound.key)
        } catch {
            // Never silence: a flow that is idle makes room for one that is not.
            guard ConnectFailure.isShortage(error.code), evict() else { throw error }
            return try makeSocket(inbound.key)
        }
    }

    private func open(_ key: FlowKey, _ inbound: InboundDatagram) throws(SystemError) -> DatagramFlow {
        let socket = try openSocket(inbound)
        socket.reportDatagrams(ipv6: key.isIPv6)
        let flow = DatagramFlow(key, of: inbound.owner, socket, hardware: inbound.hardware)
        let (index, evicted) = table.insert(key, by: inbound.owner, now: now)
        if index == slots.count { slots.append(Slot()) }
        if evicted, let old = slots[index].flow { vacate(index, old) }
        slots[index].generation &+= 1
        slots[index].flow = flow
        if flow.isUDP { portCount += 1 }
        do throws(SystemError) {
            try poller.add(flow.socket.raw, token: token(index), for: .readable)
        } catch {
            remove(index, flow)
            throw error
        }
        if nextSweep == .distantFuture { nextSweep = now + DatagramRelay.sweepInterval }
        return flow
    }

    // MARK: From guests

    /// Queues a datagram of a guest.
    func receive(_ frame: RawSpan, _ inbound: InboundDatagram) {
        let isUDP = inbound.key.protocolNumber == IPProtocol.udp
        if !isUDP && answerPing(frame, inbound) { return }
        if let route = clients.route(of: inbound.key, now: now), let listener = listeners[route.listener] {
            return queue(frame, inbound, by: listener, to: route.peer, from: route.local)
        }
        let key = inbound.key.withoutRemote(isOnHost: isOnHost(inbound.key)), flow: DatagramFlow
        if let known = self.flow(key, of: inbound.hardware) {
            flow = known
        } else {
            do throws(SystemError) {
                flow = try open(key, inbound)
            } catch {
                return refuse(frame, inbound, error.code)
            }
        }
        flow.latest = inbound.key
        if inbound.key.remotePort != RelayPolicy.dnsPort { flow.isForNames = false }
        if filtering == .address || !isUDP { note(inbound.key.remote, flow) }
        queue(frame, inbound, by: flow, to: policy.destination(of: inbound.key))
    }

    private func queue(
        _ frame: RawSpan, _ inbound: InboundDatagram, by socket: DatagramSocket, to peer: SocketAddress,
        from local: SocketAddress? = nil
    ) {
        if sender !== socket || socket.differs(inbound) || !queue.hasRoom(for: inbound.range.count) { flush() }
        socket.prepare(for: inbound)
        sender = socket
        pending.append(Pending(key: inbound.key, hardware: inbound.hardware, hops: inbound.hops))
        queue.append(frame.extracting(inbound.range), to: peer, from: local)
    }

    private func note(_ remote: IPv6Address, _ flow: DatagramFlow) {
        let change = flow.peers.note(remote, at: now.coarse, hasRoom: peerShare.hasRoom(for: flow.owner))
        if change == 1 { return peerShare.add(flow.owner) }
        for _ in 0..<max(0, -change) { peerShare.remove(flow.owner) }
    }

    /// Sends what is queued.
    func flush() {
        guard let flow = sender else { return }
        sender = nil
        var index = 0, repeats = 0, isStale = false
        while index < queue.count {
            let sent = flow.send(queue, from: index)
            if sent > 0 {
                index += sent
                repeats = 0
                continue
            }
            // An error of an earlier datagram comes before.
            let (count, mtu) = takeErrors(of: flow)
            if count > 0, mtu == 0, repeats < 4 {
                repeats += 1
                continue
            }
            sendingFailed(pending[index], queue.payload(index), Int32(-sent), mtu: mtu)
            isStale = isStale || -sent == Int(Errno.noDevice)
            index += 1
        }
        queue.removeAll()
        pending.removeAll(keepingCapacity: true)
        // The interface that the socket was bound to is gone; the next datagram opens another socket.
        if isStale, let flow = flow as? DatagramFlow, let index = table.find(flow.key, now: now) { remove(index, flow) }
    }

    // MARK: From outside

    /// Receives a batch of datagrams for a guest's port. Returns their cost in bytes.
    private func receive(
        from flow: DatagramFlow, _ index: Int, _ neighbors: GuestNeighbors, _ allows: (FlowKey) -> Bool
    ) -> Int {
        let count = flow.receive(into: &buffer)
        // A pending error; the next event has the datagrams.
        guard count > 0 else {
            if count != -Int(Errno.again) { _ = takeErrors(of: flow) }
            return 0
        }
        if hasOtherHolder(flow, neighbors) {
            remove(index, flow)
            return 0
        }
        let isUDP = flow.key.protocolNumber == IPProtocol.udp
        var bytes = 0
        for number in 0..<count {
            bytes += cost(of: number)
            let peer = buffer.peer(number)
            guard let remote = policy.visibleAddress(of: peer) else { continue }
            let key = FlowKey(
                flow.key.protocolNumber, guest: flow.key.guestAddress, flow.key.guestPort, remote: remote,
                isUDP ? peer.port : 0)
            guard filtering == .endpoint && isUDP || flow.peers.contains(key.remote) else {
                drops[.unsolicited, default: 0] += buffer.joinedCount(number)
                continue
            }
            guard allows(key) else {
                drops[.refused, default: 0] += buffer.joinedCount(number)
                continue
            }
            if isUDP {
                deliver(number, key, flow.hardware)
            } else {
                deliverReply(
                    buffer.echoMessage(number), key, flow.hardware, hops: buffer.hops(number),
                    buffer.trafficClass(number))
            }
        }
        table.markActive(index, now: now)
        return bytes
    }

    /// The work that a message of the buffer is, in bytes.
    func cost(of number: Int) -> Int {
        max(buffer.payload(number).byteCount, buffer.joinedCount(number) * DatagramRelay.leastCost)
    }

    /// Sends the datagrams of a message of the buffer to a guest.
    func deliver(_ number: Int, _ key: FlowKey, _ hardware: MACAddress) {
        for place in 0..<buffer.joinedCount(number) {
            deliver(
                buffer.payload(number, place), key, hardware, hops: buffer.hops(number), buffer.trafficClass(number))
        }
    }

    /// Sends a datagram to a guest.
    /// - Parameter hops: as it came; 0 if unknown.
    func deliver(_ payload: RawSpan, _ key: FlowKey, _ hardware: MACAddress, hops: UInt8, _ trafficClass: UInt8) {
        var header = DatagramHeader(key: key, hardware: hardware, gatewayHardware: gatewayHardware)
        // One hop is this host.
        if hops > 0 { header.hops = max(1, hops - 1) }
        header.trafficClass = trafficClass
        header.append(payload, to: output, mtu: mtu)
    }
}
