// SPDX-License-Identifier: Apache-2.0
import AddressService
import Platform
import Wire

/// DNS over TCP (RFC 7766): each connection's queries are answered one after the other, each over a connection of its own to a resolver.
final class NameStreams {
    private static let maximumConnections = 64
    /// How long a connection may be idle, and a resolver may take, in nanoseconds.
    private static let patience: UInt64 = 10 * MonotonicClock.second

    private let loop: ControlLoop
    private let resolvers: Resolvers
    private let listener: Descriptor
    private var connections: [Int32: NameStream] = [:]

    init(endpoint: SocketAddress, interface: String, resolvers: Resolvers, loop: ControlLoop) throws(SystemError) {
        let listener = try UnixSocket.internetStream()
        try listener.bind(to: endpoint, reuse: true)
        try listener.bind(toInterface: interface)
        try listener.listen()
        self.listener = listener
        self.resolvers = resolvers
        self.loop = loop
        try loop.watch(self.listener.raw) { [unowned self] _ in accept() }
    }

    private init(_ listener: consuming Descriptor, resolvers: Resolvers, loop: ControlLoop) throws(SystemError) {
        try listener.listen()
        self.listener = listener
        self.resolvers = resolvers
        self.loop = loop
        try loop.watch(self.listener.raw) { [unowned self] _ in accept() }
    }

    /// The same at a port of the loopback address that nobody uses.
    static func onLoopback(resolvers: Resolvers, loop: ControlLoop) throws(SystemError) -> (server: NameStreams, port: UInt16) {
        while true {
            // The range of dynamic ports (RFC 6335 section 6).
            let port = 49_152 | Random.value() as UInt16
            let listener = try UnixSocket.internetStream()
            do throws(SystemError) {
                try listener.bind(to: SocketAddress(IPv4Address(0x7f00_0001), port: port))
            } catch {
                guard error.code == Errno.addressInUse else { throw error }
                continue
            }
            return (try NameStreams(listener, resolvers: resolvers, loop: loop), port)
        }
    }

    private func accept() {
        let client: Descriptor
        switch listener.acceptClient() {
        case .client(let found): client = found
        case .none: return
        case .failed:
            loop.unwatch(listener.raw)
            loop.schedule(after: Acceptance.pause) { [weak self] in
                guard let self else { return }
                try? loop.watch(listener.raw) { [unowned self] _ in accept() }
            }
            return
        }
        // One too many: the newcomer is closed, and its resolver library tries again.
        guard connections.count < NameStreams.maximumConnections else { return }
        let raw = client.raw
        connections[raw] = NameStream(client, resolvers: resolvers, loop: loop, patience: NameStreams.patience) { [unowned self] in connections[raw] = nil }
    }
}

/// One client's connection.
private final class NameStream {
    private enum State {
        case readingQuery
        /// The framed query, the resolver being asked, and how much of the query is sent.
        case asking(query: [UInt8], question: DNSQuestion, server: Int, sent: Int)
    }

    private let loop: ControlLoop
    private let resolvers: Resolvers
    private let client: Descriptor
    private let patience: UInt64
    private let onEnd: () -> Void
    private var upstream: Descriptor?
    private var input: [UInt8] = []
    private var answer: [UInt8] = []
    private var state = State.readingQuery
    private var isAnswering = false
    private var isOver = false
    private var timer: ControlLoop.TimerID?

    init(_ client: consuming Descriptor, resolvers: Resolvers, loop: ControlLoop, patience: UInt64, onEnd: @escaping () -> Void) {
        self.client = client
        self.resolvers = resolvers
        self.loop = loop
        self.patience = patience
        self.onEnd = onEnd
        watchClient()
    }

    deinit {
        loop.cancel(timer)
        loop.unwatch(client.raw)
        if let raw = upstreamRaw { loop.unwatch(raw) }
    }

    private var upstreamRaw: Int32?

    private func watchClient() {
        try? loop.watch(client.raw) { [unowned self] _ in readClient() }
        restartTimer { [unowned self] in onEnd() }
    }

    private func restartTimer(_ body: @escaping () -> Void) {
        loop.cancel(timer)
        timer = loop.schedule(after: patience, body)
    }

    private func readClient() {
        do throws(SystemError) {
            let more = try client.receive(limit: 65_537)
            guard !more.isEmpty else { return onEnd() }
            input += more
            // Queries that come ahead of their turn wait here, up to a full one.
            guard input.count <= 2 * 65_537 else { return onEnd() }
            nextQueries()
        } catch {
            if error.code != Errno.again { onEnd() }
        }
    }

    /// Deals with what has come, until a resolver must be waited for. A reply leads here as well, and then finds that it is being done: a client
    /// that sends thousands of queries at once would have as many calls on the stack otherwise.
    private func nextQueries() {
        guard !isAnswering else { return }
        isAnswering = true
        defer { isAnswering = false }
        while !isOver, case .readingQuery = state, input.count >= 2 {
            let length = Int(input.rawSpan.big16(at: 0))
            guard input.count >= 2 + length else { return }
            let query = Array(input[2..<2 + length])
            input.removeFirst(2 + length)
            switch NameTriage(query: query.rawSpan) {
            case .ignore: end()
            case .answer(let answer): reply(answer)
            case .forward(let question): ask(query, question, server: 0)
            }
        }
    }

    private func end() {
        isOver = true
        onEnd()
    }

    private func reply(_ message: [UInt8]) {
        state = .readingQuery
        closeUpstream()
        // A client that does not take its answer, of 64 KiB at most, into an empty socket buffer gets no further ones.
        guard (try? client.send([UInt8(message.count >> 8), UInt8(truncatingIfNeeded: message.count)] + message)) == message.count + 2 else { return end() }
        restartTimer { [unowned self] in onEnd() }
        nextQueries()
    }

    // MARK: The resolver's side

    private func ask(_ query: [UInt8], _ question: DNSQuestion, server: Int) {
        closeUpstream()
        guard server < resolvers.servers.count else { return fail(query, question) }
        let address = resolvers.servers[server]
        do throws(SystemError) {
            let socket = try UnixSocket.internetStream(ipv6: !address.isIPv4)
            try socket.connect(to: address)
            let raw = socket.raw
            upstream = consume socket
            upstreamRaw = raw
            answer = []
            state = .asking(query: [UInt8(query.count >> 8), UInt8(truncatingIfNeeded: query.count)] + query, question: question, server: server, sent: 0)
            try loop.watch(raw, for: .writable) { [unowned self] _ in writeUpstream() }
            restartTimer { [unowned self] in ask(query, question, server: server + 1) }
        } catch {
            ask(query, question, server: server + 1)
        }
    }

    private func fail(_ query: [UInt8], _ question: DNSQuestion) {
        guard let message = try? DNSView(query.rawSpan) else { return end() }
        reply(DNSMessage.failure(id: message.id, wantsRecursion: message.wantsRecursion, question: question, code: .serverFailure))
    }

    private func closeUpstream() {
        if let raw = upstreamRaw { loop.unwatch(raw) }
        upstreamRaw = nil
        upstream = nil
    }

    private func writeUpstream() {
        guard case .asking(let query, let question, let server, let sent) = state, let raw = upstreamRaw else { return }
        do throws(SystemError) {
            let now = sent + (try upstream!.send(Array(query[sent...])))
            state = .asking(query: query, question: question, server: server, sent: now)
            guard now == query.count else { return }
            loop.unwatch(raw)
            try loop.watch(raw) { [unowned self] _ in readUpstream() }
        } catch {
            if error.code != Errno.again { ask(Array(query[2...]), question, server: server + 1) }
        }
    }

    private func readUpstream() {
        guard case .asking(let query, let question, let server, _) = state else { return }
        do throws(SystemError) {
            let more = try upstream!.receive(limit: 65_537)
            guard !more.isEmpty else { throw SystemError(code: Errno.reset, "receive") }
            answer += more
        } catch {
            if error.code != Errno.again { ask(Array(query[2...]), question, server: server + 1) }
            return
        }
        guard answer.count >= 2, answer.count >= 2 + Int(answer.rawSpan.big16(at: 0)) else { return }
        let message = Array(answer[2..<2 + Int(answer.rawSpan.big16(at: 0))])
        guard let view = try? DNSView(message.rawSpan), view.isResponse, view.id == query.rawSpan.big16(at: 2) else {
            return ask(Array(query[2...]), question, server: server + 1)
        }
        reply(message)
    }
}
