// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Timing
import Wire

/// One TCP connection of a guest.
final class DNSTCPConnection {
    /// Queries under way at a time; further ones stay in the socket's buffer.
    private static let maximumQueries = 8
    private static let readLimit = DNSMessage.lengthPrefix + DNSMessage.maximumLength

    let guest: DNSGuest
    /// The guest's; nil for a program of the host.
    var hardware: MACAddress?
    private let socket: Descriptor
    private let loop: ControlLoop
    private let idleTimeout: TimeAmount
    private let onQuery: ([UInt8]) -> Void
    private let onEnd: () -> Void
    private(set) var lastUse = BootClock.now
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var pendingQueries = 0
    private var isReadingQueries = false
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
        noteUse()
        watch()
    }

    /// Stops; the descriptor closes with the object.
    func close() {
        if isClosed { return }
        isClosed = true
        loop.cancel(timer)
        loop.unwatch(socket.raw)
    }

    private func noteUse() {
        lastUse = BootClock.now
        loop.cancel(timer)
        timer = loop.schedule(after: idleTimeout) { [unowned self] in onEnd() }
    }

    /// Backpressure: the socket is not read while responses wait to be sent, nor at the maximum of queries.
    private func watch() {
        if isClosed { return }
        let wanted: Readiness? =
            !output.isEmpty
            ? .writable : isEnding || pendingQueries >= DNSTCPConnection.maximumQueries ? nil : .readable
        if wanted == interest { return }
        loop.unwatch(socket.raw)
        interest = wanted
        guard let wanted else { return }
        do throws(SystemError) {
            try loop.watch(socket.raw, for: wanted) { [unowned self] _ in
                if wanted == .writable { flush() } else { read() }
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
        readQueries()
    }

    /// Passes on the queries in `input`. A reply calls this method again, and the inner call returns at once: otherwise
    /// a client that sends thousands of queries at once would make the stack as deep.
    private func readQueries() {
        if isReadingQueries { return }
        isReadingQueries = true
        var start = 0
        while !isClosed, output.isEmpty, pendingQueries < DNSTCPConnection.maximumQueries,
            input.count >= start + DNSMessage.lengthPrefix
        {
            let first = start + DNSMessage.lengthPrefix, end = first + DNSMessage.length(in: input.rawSpan, at: start)
            guard input.count >= end else { break }
            let query = Array(input[first..<end])
            start = end
            pendingQueries += 1
            noteUse()
            onQuery(query)
        }
        input.removeFirst(start)
        isReadingQueries = false
        if isClosed { return }
        if isEnding && pendingQueries == 0 && output.isEmpty { return onEnd() }
        watch()
    }

    /// Sends a response.
    func reply(_ message: [UInt8]) {
        pendingQueries -= 1
        output += DNSMessage.withLengthPrefix(message)
        noteUse()
        flush()
    }

    private func flush() {
        do throws(SystemError) {
            while !output.isEmpty { output.removeFirst(try socket.send(output)) }
        } catch {
            guard error.code == Errno.again else { return onEnd() }
        }
        if output.isEmpty { readQueries() } else { watch() }
    }
}
