// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Uplinks
import Wire

/// All TCP connections of the guests: finds the one that a segment or an event belongs to, begins new ones, ends old
/// ones. Belongs to who has the turn, as are the connections.
final class TCPRelay {
    /// A published port: whoever comes to it is led to a guest's.
    private final class Listener {
        let socket: Descriptor
        /// `any` while the guest that is followed has no lease.
        var guest: IPv4Address
        let followed: FollowedGuest?
        let port: UInt16
        var isWatched = false

        init(_ socket: consuming Descriptor, _ guest: IPv4Address, _ followed: FollowedGuest?, _ port: UInt16) {
            self.socket = socket
            self.guest = guest
            self.followed = followed
            self.port = port
        }
    }

    /// Bytes that streams may hold together.
    static let memory = 256 << 20
    static let listenerToken: UInt64 = 1 << 63
    /// How far ahead a deadline is noted, in nanoseconds: what is noted and not needed any more goes by that time.
    private static let horizon = 30 * MonotonicClock.second
    /// Sockets that are listened to in one turn because they have something to say, and as many because there is room
    /// again. Each may have a megabyte; other guests wait for the end of it.
    private static let eventBatch = 8
    /// Connections accepted at a time.
    private static let acceptBatch = 64

    private var surroundings: TCPSurroundings
    private let router: MACAddress
    private let names: NameInlet?
    private let poller: Poller
    private var table: FlowTable
    /// By their places in the table.
    private var connections: [TCPConnection?] = []
    /// How often each place was given anew, so that what belongs to an earlier connection is told apart.
    private var generations: [UInt32] = []
    private(set) var deadlines = DeadlineQueue()
    /// Places of connections that have something to do at the end of the turn.
    private var touched: [Int] = []
    /// Those of them whose turn it is; empty in between.
    private var turn: [Int] = []
    private var listeners: [Listener] = []
    /// When those are watched again that are not; `.max` where all are.
    private var listenersRest = UInt64.max

    /// - Parameters:
    ///   - names: takes connections to the name server.
    ///   - memory: bytes that streams may hold together.
    init(
        _ options: UserGateway.Options, names: NameInlet? = nil, to output: GuestOutput, memory: Int = TCPRelay.memory
    ) throws(SystemError) {
        self.names = names
        poller = try Poller()
        surroundings = TCPSurroundings(output: output, mtu: options.mtu, memory: StreamMemory(limit: memory))
        router = options.hardware
        table = FlowTable(capacity: max(16, options.flowLimit * 3 / 4))
    }

    /// Readable when `serve` has something to do.
    var descriptor: Descriptor { _read { yield poller.descriptor } }

    /// Connections at the moment.
    var count: Int { table.count }

    /// Bytes that streams hold at the moment.
    var memoryUsed: Int { surroundings.memory.used }

    /// Parts of streams that guests had to be sent again.
    var repeated: Int { surroundings.repeated }

    // MARK: Turns

    /// When something is to be done though nothing has happened, in nanoseconds of the clock; `.max` for never.
    func nextDeadline() -> UInt64 { min(listenersRest, nextConnectionDeadline()) }

    private func nextConnectionDeadline() -> UInt64 {
        while let first = deadlines.first {
            guard let (_, connection) = connection(first.token), connection.notedDeadline == first.deadline else {
                _ = deadlines.removeFirst()
                continue
            }
            // What is due so soon is not worth another entry: it may be looked at in vain.
            if horizon(connection) <= first.deadline || first.deadline <= surroundings.now + TCPConnection.patience {
                return first.deadline
            }
            _ = deadlines.removeFirst()
            connection.notedDeadline = .max
            note(connection, first.token)
        }
        return .max
    }

    /// When to look at a connection next.
    private func horizon(_ connection: TCPConnection) -> UInt64 {
        min(connection.deadline, surroundings.now + TCPRelay.horizon)
    }

    /// Notes when something is to be done for a connection.
    private func note(_ connection: TCPConnection, _ token: UInt64) {
        let deadline = horizon(connection)
        guard deadline < connection.notedDeadline else { return }
        connection.notedDeadline = deadline
        deadlines.insert(deadline, token)
    }

    func begin(now: UInt64) {
        surroundings.now = now
        surroundings.readsLeft = TCPRelay.eventBatch
    }

    /// Handles what the sockets have to say, or some of it: what is left makes `descriptor` readable again.
    func serve(_ gateway: inout UserGateway) {
        for index in 0..<poller.wait(timeout: 0, atMost: TCPRelay.eventBatch) {
            let (token, ready) = poller.event(index)
            if token & TCPRelay.listenerToken != 0 {
                accept(Int(token & ~TCPRelay.listenerToken), &gateway)
                continue
            }
            guard let (place, connection) = connection(token) else { continue }
            let error = connection.socketReady(ready, &surroundings)
            if error != 0 { fail(connection, error, &gateway) }
            touch(place, connection)
        }
    }

    /// The end of a turn: what waited for it, and what is due.
    func finishTurn(_ gateway: inout UserGateway) {
        if listenersRest <= surroundings.now {
            listenersRest = .max
            for index in listeners.indices { watch(listener: index) }
        }
        while let first = deadlines.first, first.deadline <= surroundings.now {
            _ = deadlines.removeFirst()
            guard let (place, connection) = connection(first.token), connection.notedDeadline == first.deadline else {
                continue
            }
            connection.notedDeadline = .max
            if connection.deadline <= surroundings.now {
                if connection.ends.hardware == nil { meet(connection, &gateway) }
                let error = connection.expire(&surroundings)
                if error != 0 { fail(connection, error, &gateway) }
            }
            touch(place, connection)
        }
        // Two lists in turn, so that none is allocated.
        swap(&touched, &turn)
        for place in turn {
            guard let connection = connections[place] else { continue }
            connection.isTouched = false
            connection.finishTurn(&surroundings)
            settle(place, connection)
        }
        turn.removeAll(keepingCapacity: true)
    }

    /// A second has passed.
    func tick() {
        for case let connection? in connections { connection.trim(&surroundings) }
    }

    private func touch(_ place: Int, _ connection: TCPConnection) {
        if connection.isTouched { return }
        connection.isTouched = true
        touched.append(place)
    }

    /// After something has happened to a connection: what to watch it for, and until when to wait.
    private func settle(_ place: Int, _ connection: TCPConnection) {
        if connection.isOver { return forget(place, connection) }
        let token = self.token(place), interest = connection.interest
        if interest != connection.watched {
            if let interest {
                if connection.watched == nil {
                    if (try? poller.add(connection.raw, token: token, for: interest)) == nil {
                        connection.reset(&surroundings)
                        return forget(place, connection)
                    }
                } else {
                    poller.modify(connection.raw, token: token, for: interest)
                }
            } else {
                poller.remove(connection.raw)
            }
            connection.watched = interest
        }
        if connection.isLingering { connection.closeSocket() }
        note(connection, token)
    }

    // MARK: Connections

    /// One that is no listener's, however often a place was given.
    static func token(_ place: Int, generation: UInt32) -> UInt64 {
        UInt64(generation & 0x7fff_ffff) << 32 | UInt64(place)
    }

    private func token(_ place: Int) -> UInt64 { TCPRelay.token(place, generation: generations[place]) }

    private func connection(_ token: UInt64) -> (place: Int, TCPConnection)? {
        let place = Int(token & 0xffff_ffff)
        guard place < connections.count, self.token(place) == token, let connection = connections[place] else {
            return nil
        }
        return (place, connection)
    }

    /// Handles a guest's segment. Returns false if the policy has to refuse it.
    func receive(_ frame: RawSpan, _ arrival: UserGateway.TCPArrival, _ gateway: inout UserGateway) -> Bool {
        guard let segment = try? TCPView(frame.extracting(arrival.segment)) else { return true }
        let second = surroundings.now / MonotonicClock.second
        let isQuestion = segment.flags.intersection([.syn, .ack, .rst]) == .syn
        if let place = table.find(arrival.key, now: second), let connection = connections[place] {
            // What is over may begin anew.
            guard isQuestion && connection.isLingering else {
                connection.receive(segment, from: arrival.hardware, &surroundings)
                touch(place, connection)
                return true
            }
            connection.reset(&surroundings)
            forget(place, connection)
        }
        guard arrival.isAllowed else { return false }
        let ends = TCPEnds(key: arrival.key, router: router, hardware: arrival.hardware)
        guard isQuestion else {
            surroundings.reset(segment, ends)
            return true
        }
        open(ends, segment, second, &gateway)
        return true
    }

    private func open(_ ends: TCPEnds, _ question: borrowing TCPView, _ second: UInt64, _ gateway: inout UserGateway) {
        do throws(SystemError) {
            let socket = try reach(ends, gateway)
            // What is near has answered by now.
            let ready = socket.wait(for: .writable, until: 0)
            let connection = TCPConnection(ends, reaching: socket, question: question, surroundings)
            add(connection, by: gateway.owner(of: ends.key), second)
            let error = ready.isEmpty ? 0 : connection.socketReady(ready, &surroundings)
            if error != 0 { fail(connection, error, &gateway) }
        } catch {
            if TCPRelay.isUnreachable(error.code) {
                gateway.tell(ends, sequence: question.sequence, error: error.code, now: second)
            } else if !TCPRelay.isShortage(error.code) {
                surroundings.reset(question, ends)
            }
        }
    }

    /// A socket on its way to where a guest wants to go.
    private func reach(_ ends: TCPEnds, _ gateway: UserGateway) throws(SystemError) -> Descriptor {
        if let names, gateway.isForNames(ends.key) {
            return try names.open(for: IPv4Address(UInt32(truncatingIfNeeded: ends.key.guest.low)), ends.hardware)
        }
        let socket = try UnixSocket.internetStream(ipv6: ends.isIPv6)
        socket.prepareForRelay()
        try socket.connect(to: gateway.destination(of: ends.key))
        return socket
    }

    /// A connection could not be made.
    private func fail(_ connection: TCPConnection, _ error: Int32, _ gateway: inout UserGateway) {
        guard TCPRelay.isUnreachable(error) else { return connection.reset(&surroundings) }
        gateway.tell(
            connection.ends, sequence: connection.question, error: error, now: surroundings.now / MonotonicClock.second)
        connection.end(&surroundings)
    }

    private static func isUnreachable(_ error: Int32) -> Bool {
        [Errno.networkUnreachable, Errno.hostUnreachable, Errno.timedOut].contains(error)
    }

    /// Of descriptors or memory: the guest will ask again.
    private static func isShortage(_ error: Int32) -> Bool {
        [Errno.tooManyFiles, Errno.tableFull, Errno.noBuffers].contains(error)
    }

    private func add(_ connection: TCPConnection, by owner: GuestOwner, _ second: UInt64) {
        let (place, isAnothers) = table.insert(connection.ends.key, by: owner, now: second)
        if place == connections.count {
            connections.append(nil)
            generations.append(0)
        }
        if isAnothers, let old = connections[place] {
            old.reset(&surroundings)
            drop(place, old)
        }
        connections[place] = connection
        generations[place] &+= 1
        touch(place, connection)
    }

    private func forget(_ place: Int, _ connection: TCPConnection) {
        table.remove(connection.ends.key)
        drop(place, connection)
    }

    private func drop(_ place: Int, _ connection: TCPConnection) {
        if connection.watched != nil { poller.remove(connection.raw) }
        connections[place] = nil
        if connection.isTouched { touched.removeAll { $0 == place } }
    }

    // MARK: Published ports

    /// Takes a port of the host. Nobody is let in before the first `serve`.
    func publish(
        _ bind: IPv4Address, _ hostPort: UInt16, to guest: IPv4Address, _ port: UInt16,
        following followed: FollowedGuest? = nil
    ) throws(SystemError) {
        let socket = try UnixSocket.internetStream()
        try socket.bind(to: SocketAddress(bind, port: hostPort), reuse: true)
        try socket.listen(backlog: 256)
        listeners.append(Listener(socket, guest, followed, port))
        watch(listener: listeners.count - 1)
    }

    /// Leads the ports that follow a guest to its lease.
    func lease(_ address: IPv4Address, to hardware: MACAddress, named name: GuestName?) {
        for listener in listeners {
            guard let followed = listener.followed else { continue }
            if followed.hasLease(of: hardware, named: name) {
                listener.guest = address
            } else if listener.guest == address {
                listener.guest = .any
            }
        }
    }

    private func watch(listener index: Int) {
        if listeners[index].isWatched { return }
        listeners[index].isWatched =
            (try? poller.add(listeners[index].socket.raw, token: TCPRelay.listenerToken | UInt64(index), for: .readable))
            != nil
    }

    private func accept(_ index: Int, _ gateway: inout UserGateway) {
        let listener = listeners[index]
        for _ in 0..<TCPRelay.acceptBatch {
            switch listener.socket.acceptClient() {
            case .client(let socket):
                guard let peer = socket.internetPeer else { continue }
                socket.prepareForRelay()
                knock(socket, from: peer, at: listener, &gateway)
            case .none: return
            case .failed:
                // They stay in the queue; for a while nothing is to tell of them.
                poller.remove(listener.socket.raw)
                listener.isWatched = false
                listenersRest = surroundings.now + Acceptance.pause
                return
            }
        }
    }

    private func knock(
        _ socket: consuming Descriptor, from peer: SocketAddress, at listener: Listener, _ gateway: inout UserGateway
    ) {
        guard listener.guest != .any else { return socket.resetWhenClosed() }
        let guest = IPv6Address(0, UInt64(listener.guest.value)), second = surroundings.now / MonotonicClock.second
        // Who has no address that guests could answer to is the gateway to them.
        let network = gateway.options.network
        var remote = network.gateway
        if let address = peer.ipv4, !address.isLoopback, !network.network.contains(address) { remote = address }
        var key = FlowKey(
            IPProtocol.tcp, guest: guest, listener.port, remote: IPv6Address(0, UInt64(remote.value)), peer.port)
        for _ in 0..<16 where table.find(key, now: second) != nil {
            key = FlowKey(
                IPProtocol.tcp, guest: guest, listener.port, remote: key.remote, UInt16.random(in: 32_768...65_535))
        }
        guard table.find(key, now: second) == nil else { return socket.resetWhenClosed() }
        let ends = TCPEnds(key: key, router: router, hardware: gateway.neighbors.hardware(of: listener.guest))
        add(TCPConnection(ends, knockingFrom: socket, surroundings), by: gateway.owner(of: key), second)
    }

    /// Looks for the hardware address of a guest that somebody knocks at.
    private func meet(_ connection: TCPConnection, _ gateway: inout UserGateway) {
        let address = IPv4Address(UInt32(truncatingIfNeeded: connection.ends.key.guest.low))
        connection.learn(gateway.neighbors.hardware(of: address))
        if connection.ends.hardware == nil { gateway.ask(for: address) }
    }
}
