// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Wire

/// A query to one resolver over a separate TCP connection.
final class UpstreamQuery {
    /// Bytes of the longest message, after its length.
    private static let readLimit = DNSMessage.lengthPrefix + DNSMessage.maximumLength

    let server: SocketAddress
    private let socket: Descriptor
    private let loop: ControlLoop
    /// After its length.
    private let query: [UInt8]
    private let onResponse: ([UInt8]) -> Void
    private let onFailure: () -> Void
    /// Bytes of `query` that were sent.
    private var sent = 0
    private var input: [UInt8] = []
    private(set) var isClosed = false

    /// - Parameters:
    ///   - outbound: the outbound path; nil: the system's routes.
    ///   - onResponse: called with the message that is received.
    ///   - onFailure: called once when no further message can be received.
    init(
        _ query: [UInt8], to server: SocketAddress, by outbound: Outbound? = nil, loop: ControlLoop,
        onResponse: @escaping ([UInt8]) -> Void, onFailure: @escaping () -> Void
    ) throws(SystemError) {
        self.server = server
        self.loop = loop
        self.onResponse = onResponse
        self.onFailure = onFailure
        self.query = DNSMessage.withLengthPrefix(query)
        socket = try Socket.tcp(ipv6: !server.isIPv4)
        if let outbound { try outbound.bind(socket, ipv6: !server.isIPv4) }
        try socket.connect(to: server)
        try loop.watch(socket.raw, for: .writable) { [unowned self] _ in write() }
    }

    deinit { close() }

    func close() {
        if isClosed { return }
        isClosed = true
        loop.unwatch(socket.raw)
    }

    private func fail() {
        close()
        onFailure()
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
