// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Timing
import Wire

/// Guests' DNS over TCP (RFC 7766): any number of queries at a time on one connection, each answered when its answer is
/// there.
///
/// There are few connections at a time. When another comes, the guest with the most loses the one that has been idle
/// for longest.
final class DNSOverTCPProxy {
    /// How long a connection may be idle (RFC 7766 section 6.2.3).
    private static let idleTimeout = TimeAmount.seconds(10)

    private let loop: ControlLoop
    private let limit: Int
    private let onQuery: ([UInt8], UInt64, DNSGuest) -> Void
    private let onEnd: (UInt64) -> Void
    private var connections: [UInt64: DNSTCPConnection] = [:]
    private var shares = GuestShares()
    private var next: UInt64 = 0

    /// - Parameters:
    ///   - limit: connections at a time.
    ///   - onQuery: called with each query, the number of its connection, and whose that is.
    ///   - onEnd: called when a connection has ended; its queries need no answers any more.
    init(
        loop: ControlLoop, limit: Int, onQuery: @escaping ([UInt8], UInt64, DNSGuest) -> Void,
        onEnd: @escaping (UInt64) -> Void
    ) {
        self.loop = loop
        self.limit = limit
        self.onQuery = onQuery
        self.onEnd = onEnd
    }

    var count: Int { connections.count }

    /// Takes a guest's connection in.
    func take(in socket: consuming Descriptor, of guest: DNSGuest) {
        let share = max(1, limit / 4)
        if shares.held(by: guest) >= share {
            endOldest(of: guest)
        } else if shares.count >= limit {
            guard let victim = shares.victim(for: guest) ?? (shares.held(by: guest) > 0 ? guest : nil) else { return }
            endOldest(of: victim)
        }
        next += 1
        let number = next
        shares.add(guest)
        let connection = DNSTCPConnection(socket, guest: guest, loop: loop, idleTimeout: DNSOverTCPProxy.idleTimeout) {
            [unowned self] in
            onQuery($0, number, guest)
        } onEnd: { [unowned self] in
            end(number)
        }
        connections[number] = connection
        connection.start()
    }

    /// The one that has been idle for longest, those that wait for nothing first.
    private func endOldest(of guest: DNSGuest) {
        let own = connections.filter { $0.value.guest == guest }
        guard
            let oldest = own.min(by: {
                ($0.value.isWaiting ? 1 : 0, $0.value.lastUse) < ($1.value.isWaiting ? 1 : 0, $1.value.lastUse)
            })
        else { return }
        end(oldest.key)
    }

    func reply(_ message: [UInt8], to number: UInt64) { connections[number]?.reply(message) }

    func end(_ number: UInt64) {
        guard let connection = connections.removeValue(forKey: number) else { return }
        connection.close()
        shares.remove(connection.guest)
        onEnd(number)
    }
}

/// One client's connection.
private final class DNSTCPConnection {
    /// Queries under way at a time; further ones wait in the socket.
    private static let maximumQueries = 8
    private static let longest = 65_535 + 2

    let guest: DNSGuest
    private let socket: Descriptor
    private let loop: ControlLoop
    private let idleTimeout: TimeAmount
    private let onQuery: ([UInt8]) -> Void
    private let onEnd: () -> Void
    private(set) var lastUse = BootClock.now
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var underWay = 0
    private var isTakingQueries = false
    /// The client sends nothing more.
    private var isEnding = false
    private var isOver = false
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

    /// Whether there are queries that were not answered yet.
    var isWaiting: Bool { underWay > 0 }

    func start() {
        noteUse()
        watch()
    }

    func close() {
        if isOver { return }
        isOver = true
        loop.cancel(timer)
        loop.unwatch(socket.raw)
    }

    private func noteUse() {
        lastUse = BootClock.now
        loop.cancel(timer)
        timer = loop.schedule(after: idleTimeout) { [unowned self] in onEnd() }
    }

    /// A client that does not take its answers is not read from, nor one that has asked enough for now.
    private func watch() {
        if isOver { return }
        let wanted: Readiness? =
            !output.isEmpty ? .writable : isEnding || underWay >= DNSTCPConnection.maximumQueries ? nil : .readable
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
            let more = try socket.receive(limit: DNSTCPConnection.longest)
            isEnding = more.isEmpty
            input += more
        } catch {
            if error.code != Errno.again { onEnd() }
            return
        }
        takeQueries()
    }

    /// Hands on what has come. A reply leads here as well, and then finds that it is being done: a client that sends
    /// thousands of queries at once would have as many calls on the stack otherwise.
    private func takeQueries() {
        if isTakingQueries { return }
        isTakingQueries = true
        var start = 0
        while !isOver, output.isEmpty, underWay < DNSTCPConnection.maximumQueries, input.count >= start + 2 {
            let length = Int(input.rawSpan.big16(at: start))
            guard input.count >= start + 2 + length else { break }
            let query = Array(input[start + 2..<start + 2 + length])
            start += 2 + length
            underWay += 1
            noteUse()
            onQuery(query)
        }
        input.removeFirst(start)
        isTakingQueries = false
        if isOver { return }
        if isEnding && underWay == 0 && output.isEmpty { return onEnd() }
        watch()
    }

    func reply(_ message: [UInt8]) {
        underWay -= 1
        output += [UInt8(message.count >> 8), UInt8(truncatingIfNeeded: message.count)] + message
        noteUse()
        flush()
    }

    private func flush() {
        do throws(SystemError) {
            while !output.isEmpty { output.removeFirst(try socket.send(output)) }
        } catch {
            guard error.code == Errno.again else { return onEnd() }
        }
        if output.isEmpty { takeQueries() } else { watch() }
    }
}
