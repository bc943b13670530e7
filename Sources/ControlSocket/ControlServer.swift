// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import EventLoop
import Lifecycle
import Listeners
import Logging
import Platform
import Timing

/// A method of the protocol.
package struct ControlMethod {
    let rights: ControlRights
    let body: (ControlClient, JSON) throws(ControlError) -> JSON

    /// - Parameters:
    ///   - rights: the client needs all of them.
    ///   - body: returns the result. It runs on the control thread, and must not block.
    package init(
        _ rights: ControlRights, _ body: @escaping (ControlClient, JSON) throws(ControlError) -> JSON
    ) {
        self.rights = rights
        self.body = body
    }
}

/// Serves the control socket: reads requests, calls the methods, sends replies and events.
///
/// # Theory of operation
///
/// Everything is bounded, so that no client delays the network or another user's client:
///
///     clients                  64, of which one user other than root has 16 at most, and all users who may only
///                              read counters have 32
///     a request                64 KiB
///     requests of a user       50 a second, 100 at once; further ones wait in the socket
///     requests at a time       8, then other handlers of the loop run
///     output                   a client that does not read its replies is not read
///     events                   256 KiB queued for a client; further ones are counted and reported as lost
///     time                     10 s for a request, 30 s without reading, 5 min without a request or subscription
package final class ControlServer {
    private static let maximumClients = 64
    private static let maximumOfUser = 16
    /// The rest is for root and the owner.
    private static let maximumOfReaders = 32
    private static let requestsPerIteration = 8
    private static let requestTimeout = TimeAmount.seconds(10)
    private static let outputTimeout = TimeAmount.seconds(30)
    private static let idleTimeout = TimeAmount.minutes(5)
    private static let sweepInterval = TimeAmount.seconds(1)

    private let listener: ControlListener
    private let access: ControlAccess
    private let loop: ControlLoop
    private let logger: Logger
    private var acceptLoop: AcceptLoop?
    private var clients: [Int32: ControlClient] = [:]
    private var buckets: [UInt32: RequestBucket] = [:]
    private var sweepTimer: ControlLoop.TimerID?
    private var rateLimited = RateLimitedLogger()
    /// The methods by name.
    package var methods: [String: ControlMethod] = [:]

    /// - Parameter quota: has the descriptors of all clients of this process.
    package init(
        _ listener: ControlListener, _ access: ControlAccess, quota: ClientQuota, loop: ControlLoop, logger: Logger
    ) throws(ExitError) {
        self.listener = listener
        self.access = access
        self.loop = loop
        self.logger = logger
        acceptLoop = try orUnavailable { () throws(SystemError) in
            try AcceptLoop(
                listener.socket.socket.duplicate(), cost: 1, of: quota, loop: loop,
                onExhaustion: { [unowned self] in
                    rateLimited.log("no client of the control socket can be accepted: \($0)", to: logger)
                }, onClient: { [unowned self] in accept($0, $1) })
        }
    }

    /// The network's name.
    package var name: NetworkName { listener.name }
    /// The path of the socket.
    package var path: String { listener.path }
    /// The user that owns the network.
    package var owner: UInt32 { access.owner }

    // MARK: Clients

    private func accept(_ socket: consuming Descriptor, _ admission: ClientQuota.Admission) {
        guard let peer = try? socket.peerCredentials() else { return }
        let rights = access.rights(user: peer.user, peerGroup: peer.group)
        if rights.isEmpty {
            return refuse(socket, ControlError(.denied, "the network belongs to another user"))
        }
        let ofUser = clients.values.count { $0.user == peer.user }
        let readers = clients.values.count { $0.rights == .counters }
        guard clients.count < ControlServer.maximumClients, peer.user == 0 || ofUser < ControlServer.maximumOfUser,
            rights != .counters || readers < ControlServer.maximumOfReaders
        else { return refuse(socket, ControlError(.busy, "too many clients are connected; close one")) }
        let client = ControlClient(
            socket, user: peer.user, process: peer.process, rights: rights, admission,
            deadline: BootClock.now + ControlServer.requestTimeout)
        clients[client.socket.raw] = client
        if sweepTimer == nil { scheduleSweep() }
        watch(client)
    }

    /// Sends an error to a client that is not accepted. Its receive buffer is empty, so it takes the line.
    private func refuse(_ socket: consuming Descriptor, _ error: ControlError) {
        _ = try? socket.send(Array(ControlReply.line(id: .null, error: error).utf8))
    }

    private func watch(_ client: ControlClient) {
        guard !client.isClosed else { return }
        unwatch(client)
        do throws(SystemError) {
            // Backpressure: no request is read from a client that does not read its replies.
            try loop.watch(client.socket.raw, for: client.isBlocked ? .writable : .readable) {
                [unowned self, unowned client] _ in ready(client)
            }
            client.isWatched = true
        } catch {
            close(client)
        }
    }

    private func unwatch(_ client: ControlClient) {
        if client.isWatched { loop.unwatch(client.socket.raw) }
        client.isWatched = false
    }

    private func ready(_ client: ControlClient) {
        if client.isBlocked {
            guard client.flush() else { return close(client) }
            client.deadline = BootClock.now + ControlServer.outputTimeout
            if client.isBlocked { return }
            if client.closesAfterSending { return close(client) }
        } else {
            do throws(SystemError) {
                let room = ControlProtocol.maximumRequest + 1 - client.input.count
                let bytes = try client.socket.receive(limit: max(1, min(16_384, room)))
                if bytes.isEmpty { return close(client) }
                // The rest of a line does not prolong the time for it.
                if client.input.isEmpty { client.deadline = BootClock.now + ControlServer.requestTimeout }
                client.input += bytes
            } catch {
                if error.code != Errno.again { close(client) }
                return
            }
        }
        process(client)
    }

    /// Handles a bounded number of whole lines, while the client reads the replies.
    private func process(_ client: ControlClient) {
        for _ in 0..<ControlServer.requestsPerIteration {
            guard !client.isClosed, !client.isBlocked, !client.closesAfterSending else { return settle(client) }
            let delay = buckets[client.user, default: RequestBucket()].delay(at: BootClock.now)
            if delay > .zero, client.input.contains(UInt8(ascii: "\n")) {
                unwatch(client)
                // The request is complete, and waits because of the limit.
                client.deadline = BootClock.now + ControlServer.requestTimeout
                loop.schedule(after: delay) { [weak self, weak client] in
                    if let self, let client, !client.isClosed { process(client) }
                }
                return
            }
            guard let line = client.nextLine() else { return settle(client) }
            // Its user believes that the request has failed.
            guard !client.hasGone else { return close(client) }
            // An empty line counts as well: a stream of them would keep this thread busy.
            buckets[client.user, default: RequestBucket()].take(at: BootClock.now)
            // The next line has its own time.
            if !client.input.isEmpty { client.deadline = BootClock.now + ControlServer.requestTimeout }
            if line.isEmpty { continue }
            send(reply(to: line, of: client), to: client)
            if let takeover = client.takeover { return handOver(client, takeover) }
        }
        // Other handlers run first.
        unwatch(client)
        loop.scheduleSoon { [weak self, weak client] in
            if let self, let client, !client.isClosed { process(client) }
        }
    }

    /// Leaves a connection to what a request has started.
    private func handOver(_ client: ControlClient, _ takeover: (ControlClient) -> Void) {
        client.takeover = nil
        // A client that does not read the reply reads nothing else.
        guard !client.isClosed, !client.isBlocked else { return close(client) }
        unwatch(client)
        client.subscription = nil
        client.deadline = .distantFuture
        takeover(client)
    }

    /// Waits for more of a client, or for it to read.
    private func settle(_ client: ControlClient) {
        guard !client.isClosed else { return }
        if !client.isBlocked, client.input.count > ControlProtocol.maximumRequest {
            client.closesAfterSending = true
            let error = ControlError(
                .tooLong, "a request has \(ControlProtocol.maximumRequest) bytes at most; the connection ends")
            send(ControlReply.line(id: .null, error: error), to: client)
            if client.isClosed { return }
        }
        if !client.isBlocked, client.input.isEmpty {
            client.deadline =
                client.subscription == nil ? BootClock.now + ControlServer.idleTimeout : .distantFuture
        }
        watch(client)
    }

    private func reply(to line: [UInt8], of client: ControlClient) -> String {
        do throws(ControlRequest.Refusal) {
            let request = try ControlRequest(parsing: line)
            do throws(ControlError) {
                return ControlReply.line(id: request.id, result: try call(request, client))
            } catch {
                return errorLine(id: request.id, error)
            }
        } catch {
            return errorLine(id: error.id, error.error)
        }
    }

    /// Messages have parts of requests in them.
    private func errorLine(id: JSON, _ error: ControlError) -> String {
        ControlReply.line(id: id, error: ControlError(error.code, PrintableText.line(error.description, limit: 1024)))
    }

    private func call(_ request: ControlRequest, _ client: ControlClient) throws(ControlError) -> JSON {
        guard let method = methods[request.method] else {
            throw ControlError(.method, "there is no method '\(PrintableText.line(request.method, limit: 64))'")
        }
        guard client.rights.isSuperset(of: method.rights) else {
            throw ControlError(
                .denied, "\(request.method) is for root and the network's owner; this user may only read counters")
        }
        return try method.body(client, request.params)
    }

    private func send(_ text: String, to client: ControlClient) {
        client.output += Array(text.utf8)
        guard client.flush() else { return close(client) }
        if client.isBlocked {
            client.deadline = BootClock.now + ControlServer.outputTimeout
        } else if client.closesAfterSending {
            close(client)
        }
    }

    /// Ends a connection.
    package func close(_ client: ControlClient) {
        guard !client.isClosed else { return }
        client.isClosed = true
        unwatch(client)
        clients[client.socket.raw] = nil
        client.onClose()
    }

    // MARK: Events

    /// Whether a client has subscribed to this kind of event.
    package func isAwaited(_ kind: String) -> Bool {
        clients.values.contains { $0.subscription?.contains(kind) == true }
    }

    /// Sends an event to the clients that have subscribed to its kind.
    package func publish(_ kind: String, _ data: JSON) {
        guard isAwaited(kind) else { return }
        let line =
            JSON.object([
                ("event", .string(kind)), ("time", .integer(Int(WallClock.seconds))), ("data", data),
            ]).text + "\n"
        for client in Array(clients.values) where client.subscription?.contains(kind) == true {
            let wasBlocked = client.isBlocked
            client.queue(event: line)
            guard !wasBlocked else { continue }
            guard client.flush() else {
                close(client)
                continue
            }
            if client.isBlocked {
                client.deadline = BootClock.now + ControlServer.outputTimeout
                watch(client)
            }
        }
    }

    // MARK: Time

    private func scheduleSweep() {
        sweepTimer = loop.schedule(after: ControlServer.sweepInterval) { [unowned self] in
            sweepTimer = nil
            let now = BootClock.now
            for client in Array(clients.values) where client.deadline <= now { close(client) }
            buckets = buckets.filter { !$0.value.isFull(at: now) }
            if !clients.isEmpty { scheduleSweep() }
        }
    }

    /// Disconnects all clients, except those that wait for the end of the process, and removes the socket.
    package func close() {
        loop.cancel(sweepTimer)
        for client in Array(clients.values) where !client.isAwaitingEnd { close(client) }
        acceptLoop?.close()
        listener.remove()
    }
}

/// The requests that a user may send now: a token bucket.
struct RequestBucket {
    static let burst = 100
    static let perSecond: Int64 = 50

    private var tokens = RequestBucket.burst
    private var filled = Instant.distantPast

    private mutating func refill(at now: Instant) {
        let interval = TimeAmount.nanoseconds(1_000_000_000 / RequestBucket.perSecond)
        guard filled != .distantPast else {
            filled = now
            return
        }
        let earned = (now - filled).nanoseconds / interval.nanoseconds
        guard earned > 0 else { return }
        tokens = Int(min(Int64(RequestBucket.burst), Int64(tokens) + earned))
        filled = filled + interval * earned
    }

    /// How long a request has to wait; zero for not at all.
    mutating func delay(at now: Instant) -> TimeAmount {
        refill(at: now)
        return tokens > 0 ? .zero : .nanoseconds(1_000_000_000 / RequestBucket.perSecond)
    }

    mutating func take(at now: Instant) {
        refill(at: now)
        tokens -= 1
    }

    func isFull(at now: Instant) -> Bool {
        var copy = self
        copy.refill(at: now)
        return copy.tokens >= RequestBucket.burst
    }
}
