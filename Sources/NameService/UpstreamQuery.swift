// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Wire

/// A query to one resolver over a separate socket that is connected to the resolver, so that the kernel accepts
/// packets of no other host (RFC 5452 section 9).
final class UpstreamQuery {
    /// Bytes of the longest message with its length in front.
    private static let readLimit = DNSMessage.lengthPrefix + DNSMessage.maximumLength

    let server: SocketAddress
    private let transport: DNSTransport
    private let socket: Descriptor
    private let loop: ControlLoop
    /// With its length in front for TCP.
    private let query: [UInt8]
    private let onResponse: ([UInt8]) -> Void
    private let onFailure: () -> Void
    /// Bytes of `query` that were sent over TCP.
    private var sent = 0
    private var input: [UInt8] = []
    private(set) var isClosed = false

    /// - Parameters:
    ///   - onResponse: called with each message that is received. A host that can send from the server's address can
    ///     forge it.
    ///   - onFailure: called once when no further message can be received.
    init(
        _ query: [UInt8], to server: SocketAddress, over transport: DNSTransport, loop: ControlLoop,
        onResponse: @escaping ([UInt8]) -> Void,
        onFailure: @escaping () -> Void
    ) throws(SystemError) {
        self.server = server
        self.transport = transport
        self.loop = loop
        self.onResponse = onResponse
        self.onFailure = onFailure
        switch transport {
        case .datagram:
            self.query = query
            socket = try Socket.udp(ipv6: !server.isIPv4)
            try socket.connect(to: server)
            _ = try socket.send(query)
            try loop.watch(socket.raw) { [unowned self] _ in receiveDatagram() }
        case .stream:
            self.query = DNSMessage.withLengthPrefix(query)
            socket = try Socket.tcp(ipv6: !server.isIPv4)
            try socket.connect(to: server)
            try loop.watch(socket.raw, for: .writable) { [unowned self] _ in write() }
        }
    }

    deinit { close() }

    /// Sends the query once more over UDP, from the same port, because it may have been lost.
    func sendAgain() {
        if transport == .datagram { _ = try? socket.send(query) }
    }

    func close() {
        if isClosed { return }
        isClosed = true
        loop.unwatch(socket.raw)
    }

    private func fail() {
        close()
        onFailure()
    }

    private func receiveDatagram() {
        do throws(SystemError) {
            onResponse(try socket.receive(limit: UpstreamQuery.readLimit))
        } catch {
            // ECONNREFUSED reports an ICMP "port unreachable": the host has no resolver.
            if error.code != Errno.again { fail() }
        }
    }

    private func write() {
        do throws(SystemError) {
            sent += try socket.send(Array(query[sent...]))
            guard sent == query.count else { return }
            loop.unwatch(socket.raw)
            try loop.watch(socket.raw) { [unowned self] _ in read() }
        } catch {
            if error.code != Errno.again { fail() }
        }
    }

    private func read() {
        do throws(SystemError) {
            let more = try socket.receive(limit: UpstreamQuery.readLimit)
            guard !more.isEmpty else { return fail() }
            input += more
        } catch {
            if error.code != Errno.again { fail() }
            return
        }
        guard input.count >= DNSMessage.lengthPrefix else { return }
        let end = DNSMessage.lengthPrefix + DNSMessage.length(in: input.rawSpan)
        guard input.count >= end else { return }
        let message = Array(input[DNSMessage.lengthPrefix..<end])
        onResponse(message)
        // The connection carries one query: if this was no response to it, none will come.
        if !isClosed { fail() }
    }
}
