// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Timing

extension Descriptor {
    /// Sends without blocking, and without SIGPIPE. Returns how many bytes were taken.
    package func send(_ bytes: [UInt8]) throws(SystemError) -> Int {
        let sent = unsafe bytes.withUnsafeBytes { unsafe platform_send(raw, $0.baseAddress, $0.count) }
        return try SystemError.check(sent, "send")
    }

    /// Receives once without blocking, up to `limit` bytes. Empty at the end of a stream, and for an empty datagram.
    package func receive(limit: Int) throws(SystemError) -> [UInt8] {
        var result = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            result = unsafe platform_receive(raw, buffer.baseAddress, limit)
            count = max(0, result)
        }
        try SystemError.check(result, "receive")
        return bytes
    }

    /// Receives once without blocking, into the start of `buffer`. Returns the number of bytes. The end of a datagram
    /// that does not fit is lost.
    package func receive(into buffer: inout [UInt8]) throws(SystemError) -> Int {
        let count = buffer.count
        let received = unsafe buffer.withUnsafeMutableBytes { unsafe platform_receive(raw, $0.baseAddress, count) }
        return try SystemError.check(received, "receive")
    }

    /// Sends a datagram to an internet address without blocking.
    package func send(_ bytes: [UInt8], to address: SocketAddress) throws(SystemError) {
        var raw = address.raw
        let sent = unsafe bytes.withUnsafeBytes { unsafe platform_inet_send(self.raw, $0.baseAddress, $0.count, &raw) }
        try SystemError.check(sent, "send to", address.description)
    }

    /// Receives a datagram and its sender's internet address without blocking.
    package func receiveFrom(limit: Int) throws(SystemError) -> (bytes: [UInt8], from: SocketAddress) {
        var result = 0
        var from = platform_inet_address()
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            result = unsafe platform_inet_receive(raw, buffer.baseAddress, limit, &from)
            count = max(0, result)
        }
        try SystemError.check(result, "receive")
        return (bytes, SocketAddress(raw: from))
    }

    /// Binds the socket; `reuse` sets SO_REUSEADDR.
    package func bind(to address: SocketAddress, reuse: Bool = false) throws(SystemError) {
        var raw = address.raw
        try SystemError.check(unsafe platform_inet_bind(self.raw, &raw, reuse ? 1 : 0), "bind", address.description)
    }

    /// Connects. For a non-blocking stream the connection may still be in progress afterwards: when the socket is
    /// ready, `connectError` has the result.
    package func connect(to address: SocketAddress) throws(SystemError) {
        var raw = address.raw
        let result = unsafe platform_inet_connect(self.raw, &raw)
        if result == -EINPROGRESS { return }
        try SystemError.check(result, "connect", address.description)
    }

    /// The result of `connect` for a stream that is ready: 0 once it is connected, else the positive errno.
    ///
    /// Linux loses the error of some ICMP messages that arrive while the socket is polled (6.18: 14 of 260,000, busy
    /// host): the socket is ready, its pending error is 0, and it is not connected. The result is then
    /// `Errno.timedOut`, as if no answer had come.
    package var connectError: Int32 {
        let error = pendingError
        if error == 0, let kind = try? SocketKind(of: raw), !kind.isConnected { return Errno.timedOut }
        return error
    }

    /// Has `bind` to an address without a port leave the port to `connect` (Linux).
    package func chooseLocalPortLate() { platform_inet_choose_port_late(raw) }

    /// Binds the socket to one interface (SO_BINDTODEVICE; IP_BOUND_IF on macOS): what it sends leaves there, and on
    /// Linux it receives only what arrives there.
    /// - Throws: `Errno.noDevice` or `Errno.noSuchDeviceOrAddress` if there is none with this name.
    package func bind(toInterface name: String, ipv6: Bool) throws(SystemError) {
        try SystemError.check(unsafe platform_bind_to_interface(raw, ipv6 ? 1 : 0, name), "bind to interface", name)
    }

    // MARK: Streams of TCP

    /// Sets the options of a connection whose bytes are relayed: TCP_NODELAY, SO_OOBINLINE.
    package func prepareForRelay() { platform_stream_prepare(raw) }

    /// Probes the peer (SO_KEEPALIVE) after so many seconds without a segment from it, at once if they have passed, and
    /// then every `interval` seconds. After `count` probes without an answer the socket fails with ETIMEDOUT.
    package func keepAlive(afterSeconds idle: Int32, everySeconds interval: Int32, atMost count: Int32) {
        _ = platform_stream_keepalive(raw, idle, interval, count)
    }

    /// Ends what `keepAlive` has begun.
    package func endKeepAlive() { _ = platform_stream_keepalive(raw, 0, 0, 0) }

    /// How long a TCP socket has received nothing from its peer; nil if the system does not report that.
    package var silence: TimeAmount? {
        let milliseconds = platform_stream_silence(raw)
        return milliseconds < 0 ? nil : .milliseconds(milliseconds)
    }

    /// Shuts down the sending direction (shutdown(2)); receiving goes on.
    package func finishSending() { _ = platform_stream_finish(raw) }

    /// Makes close(2) reset the connection (SO_LINGER with 0 seconds).
    package func resetWhenClosed() { platform_stream_reset(raw) }

    /// The remote address (getpeername(2)); nil once the socket is not connected.
    package var internetPeer: SocketAddress? {
        var peer = platform_inet_address()
        return unsafe platform_inet_peer(raw, &peer) == 0 ? SocketAddress(raw: peer) : nil
    }
}
