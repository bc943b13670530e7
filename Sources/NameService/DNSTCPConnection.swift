// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Timing
import Wire

/// One TCP connection of a guest.
final class DNSTCPConnection {
    /// Queries under way at a time; further ones stay in the socket's buffer.
    private static let maximumQueries = 32
    /// Bytes that are read at once, and bytes of responses above which no further query is handled.
    private static let readLimit = 16 << 10, outputLimit = 64 << 10

    let guest: DNSGuest
    /// The guest's; nil for a program of the host.
    var hardware: MACAddress?
    private let socket: Descriptor
    private let loop: ControlLoop
    private let idleTimeout: TimeAmount
    private let onQuery: ([UInt8]) -> Void
    private let onEnd: () -> Void
    /// Called when there is something to send, once until `flush`.
    var onOutput: () -> Void = {}
    private(set) var lastUse = BootClock.now
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var pendingQueries = 0
    private var isWorking = false
    /// The client has closed its side.
    private var isEnding = false
    private var isClosed = false
    private var interest: Readiness?
    private var timer: ControlLoop.TimerID?

    init(
        _ socket: consuming Descriptor, guest: DNSGuest, loop: ControlLoop, idleTimeout: TimeAmount,
        onQuery: @escaping ([UInt8]) -> Void, onEnd: @escaping () -> Void
    ) {
        self.socket = socket
        self.guest = guest
        self.loop = loop
        self.idleTimeout = idleTimeout
        self.onQuery = onQuery
        self.onEnd = onEnd
    }

    /// Whether there are queries without a response yet.
    var isWaiting: Bool { pendingQueries > 0 }

    /// Begins to read queries.
    func start() {
        scheduleIdleCheck()
        watch()
    }

    /// Stops; the descriptor closes with the object.
    func close() {
        if isClosed { return }
        isClosed = true
        loop.cancel(timer)
        loop.unwatch(socket.raw)
    }

    private func scheduleIdleCheck() {
        let end = lastUse + idleTimeout
        timer = loop.schedule(at: end) { [unowned self] in
            if lastUse + idleTimeout > end { scheduleIdleCheck() } else { onEnd() }
        }
    }

    /// Backpressure: the socket is not read while responses wait to be sent, nor from the maximum of queries until half
    /// of them have responses.
    private func watch() {
        let hasMost = pendingQueries > DNSTCPConnection.maximumQueries / (interest == nil ? 2 : 1) - 1
        let needed: Readiness? = !output.isEmpty ? .writable : isEnding || hasMost ? nil : .readable
        if needed == interest { return }
        loop.unwatch(socket.raw)
        interest = needed
        guard let needed else { return }
        do throws(SystemError) {
            try loop.watch(socket.raw, for: needed) { [unowned self] _ in
                if needed == .writable { flush() } else { read() }
            }
        } catch {
            onEnd()
        }
    }

    private func read() {
        do throws(SystemError) {
            let more = try socket.receive(limit: DNSTCPConnection.readLimit)
            isEnding = more.isEmpty
            input += more
        } catch {
            if error.code != Errno.again { onEnd() }
            return
        }
        flush()
    }

    /// Sends responses, and handles queries that have arrived, as far as both are possible now. Calls of `reply`
    /// meanwhile only append: a client that sends thousands of queries at once would make the stack as deep.
    func flush() {
        if isWorking || isClosed { return }
        isWorking = true
        var hasProgress = true
        while hasProgress {
            let handled = handleQueries()
            if isClosed { return }
            let isSent = send()
            if isClosed { return }
            hasProgress = handled > 0 && isSent
        }
        isWorking = false
        if isEnding && pendingQueries == 0 && output.isEmpty { return onEnd() }
        watch()
    }

    /// Passes on the queries in `input`. Returns their number.
    private func handleQueries() -> Int {
        var start = 0, count = 0
        while !isClosed, output.count < DNSTCPConnection.outputLimit,
            pendingQueries < DNSTCPConnection.maximumQueries, input.count >= start + DNSMessage.lengthPrefix
        {
            let first = start + DNSMessage.lengthPrefix, end = first + DNSMessage.length(in: input.rawSpan, at: start)
            guard input.count >= end else { break }
            let query = Array(input[first..<end])
            start = end
            count += 1
            pendingQueries += 1
            lastUse = BootClock.now
            onQuery(query)
        }
        input.removeFirst(start)
        return count
    }

    /// Appends a response.
    func reply(_ message: [UInt8]) {
        pendingQueries -= 1
        let isFirst = output.isEmpty
        output += DNSMessage.withLengthPrefix(message)
        lastUse = BootClock.now
        if isFirst && !isWorking { onOutput() }
    }

    /// Sends responses. Returns whether all are sent.
    private func send() -> Bool {
        do throws(SystemError) {
            while !output.isEmpty { output.removeFirst(try socket.send(output)) }
            return true
        } catch {
            if error.code != Errno.again { onEnd() }
            return false
        }
    }
}
