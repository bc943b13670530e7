// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Wire

/// A query on its way to one resolver, by a socket of its own that is connected to it, so that the kernel lets in
/// nothing else (RFC 5452 section 9).
final class UpstreamQuery {
    /// Bytes of the largest message, behind its length where it is sent by TCP.
    private static let longest = 65_535 + 2

    let server: SocketAddress
    private let transport: DNSTransport
    private let socket: Descriptor
    private let loop: ControlLoop
    private let query: [UInt8]
    private let onAnswer: ([UInt8]) -> Void
    private let onFailure: () -> Void
    private var sent = 0
    private var input: [UInt8] = []
    private(set) var isOver = false

    /// - Parameters:
    ///   - onAnswer: called with each message that arrives, which may be forged by a host that can send from the
    ///     server's address.
    ///   - onFailure: called once when none can come any more.
    init(
        _ query: [UInt8], to server: SocketAddress, over transport: DNSTransport, loop: ControlLoop,
        onAnswer: @escaping ([UInt8]) -> Void,
        onFailure: @escaping () -> Void
    ) throws(SystemError) {
        self.server = server
        self.transport = transport
        self.loop = loop
        self.onAnswer = onAnswer
        self.onFailure = onFailure
        switch transport {
        case .datagram:
            self.query = query
            socket = try UnixSocket.internetDatagram(ipv6: !server.isIPv4)
            try socket.connect(to: server)
            _ = try socket.send(query)
            try loop.watch(socket.raw) { [unowned self] _ in receiveDatagram() }
        case .stream:
            self.query = [UInt8(query.count >> 8), UInt8(truncatingIfNeeded: query.count)] + query
            socket = try UnixSocket.internetStream(ipv6: !server.isIPv4)
            try socket.connect(to: server)
            try loop.watch(socket.raw, for: .writable) { [unowned self] _ in write() }
        }
    }

    deinit { close() }

    /// Sends it once more, from the same port, where it may have been lost.
    func repeatQuery() {
        if transport == .datagram { _ = try? socket.send(query) }
    }

    func close() {
        if isOver { return }
        isOver = true
        loop.unwatch(socket.raw)
    }

    private func fail() {
        close()
        onFailure()
    }

    private func receiveDatagram() {
        do throws(SystemError) {
            onAnswer(try socket.receive(limit: UpstreamQuery.longest))
        } catch {
            // "Connection refused" comes back by ICMP from a resolver that is not there.
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
            let more = try socket.receive(limit: UpstreamQuery.longest)
            guard !more.isEmpty else { return fail() }
            input += more
        } catch {
            if error.code != Errno.again { fail() }
            return
        }
        guard input.count >= 2 else { return }
        let length = Int(input.rawSpan.big16(at: 0))
        guard input.count >= 2 + length else { return }
        let message = Array(input[2..<2 + length])
        onAnswer(message)
        // One question was asked: where that was no answer to it, there will be none.
        if !isOver { fail() }
    }
}
