// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Wire

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

extension DescriptorPair {
    /// Both ends of a pipe, close-on-exec, blocking: `first` reads, `second` writes.
    package static func pipe() throws(SystemError) -> DescriptorPair {
        unsafe try make("pipe") { unsafe systemPipe($0) }
    }

    /// Two connected unix datagram sockets, non-blocking.
    package static func datagramSockets() throws(SystemError) -> DescriptorPair {
        let pair = unsafe try make("socketpair") { unsafe socketpair(AF_UNIX, UnixSocket.datagramType, 0, $0) }
        pair.first.setNonBlocking()
        pair.second.setNonBlocking()
        return pair
    }

    /// Two connected unix stream sockets, non-blocking.
    package static func streamSockets() throws(SystemError) -> DescriptorPair {
        let pair = unsafe try make("socketpair") { unsafe socketpair(AF_UNIX, UnixSocket.streamType, 0, $0) }
        pair.first.setNonBlocking()
        pair.second.setNonBlocking()
        return pair
    }

    private static func make(
        _ name: String, _ call: (UnsafeMutablePointer<Int32>) -> Int32
    ) throws(SystemError) -> DescriptorPair {
        var ends: (Int32, Int32) = (-1, -1)
        let result = unsafe withUnsafeMutableBytes(of: &ends) {
            unsafe call($0.assumingMemoryBound(to: Int32.self).baseAddress!)
        }
        try SystemError.checkErrno(result, name)
        _ = platform_fcntl(ends.0, F_SETFD, FD_CLOEXEC)
        _ = platform_fcntl(ends.1, F_SETFD, FD_CLOEXEC)
        return DescriptorPair(ends)
    }
}

/// `pipe(2)`, which would otherwise be taken for the function of the same name above.
private func systemPipe(_ ends: UnsafeMutablePointer<Int32>) -> Int32 { unsafe pipe(ends) }

extension Descriptor {
    /// Reads once, up to `limit` bytes; empty at the end of the file.
    package func read(limit: Int) throws(SystemError) -> [UInt8] {
        var failure: Int32 = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            let received = Self.retrying { unsafe Self.systemRead(raw, buffer.baseAddress!, limit) }
            failure = received < 0 ? Errno.last : 0
            count = max(0, received)
        }
        if failure != 0 { throw SystemError(code: failure, "read") }
        return bytes
    }

    /// Reads to the end of the file, or `limit` bytes.
    package func readAll(limit: Int = 16 << 20) throws(SystemError) -> [UInt8] {
        var all: [UInt8] = []
        while all.count < limit {
            let piece = try read(limit: min(65536, limit - all.count))
            if piece.isEmpty { break }
            all += piece
        }
        return all
    }

    /// Writes all of `bytes`, waiting where the descriptor blocks.
    package func write(_ bytes: [UInt8]) throws(SystemError) {
        var offset = 0
        while offset < bytes.count {
            let written = unsafe bytes.withUnsafeBytes { buffer in
                Self.retrying { unsafe Self.systemWrite(raw, buffer.baseAddress! + offset, bytes.count - offset) }
            }
            if written < 0 { throw SystemError(code: Errno.last, "write") }
            offset += written
        }
    }

    private static func systemRead(_ fd: Int32, _ buffer: UnsafeMutableRawPointer, _ count: Int) -> Int {
        #if canImport(Darwin)
            unsafe Darwin.read(fd, buffer, count)
        #elseif canImport(Musl)
            unsafe Musl.read(fd, buffer, count)
        #else
            unsafe Glibc.read(fd, buffer, count)
        #endif
    }

    private static func systemWrite(_ fd: Int32, _ buffer: UnsafeRawPointer, _ count: Int) -> Int {
        #if canImport(Darwin)
            unsafe Darwin.write(fd, buffer, count)
        #elseif canImport(Musl)
            unsafe Musl.write(fd, buffer, count)
        #else
            unsafe Glibc.write(fd, buffer, count)
        #endif
    }

    private static func retrying(_ call: () -> Int) -> Int {
        while true {
            let result = call()
            if result >= 0 || Errno.last != EINTR { return result }
        }
    }

    // MARK: Sockets

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

    package func bind(to address: SocketAddress, reuse: Bool = false) throws(SystemError) {
        var raw = address.raw
        try SystemError.check(unsafe platform_inet_bind(self.raw, &raw, reuse ? 1 : 0), "bind", address.description)
    }

    /// Connects; a stream's connection may still be on its way afterwards.
    package func connect(to address: SocketAddress) throws(SystemError) {
        var raw = address.raw
        let result = unsafe platform_inet_connect(self.raw, &raw)
        if result == -EINPROGRESS { return }
        try SystemError.check(result, "connect", address.description)
    }

    package func bind(toInterface name: String) throws(SystemError) {
        try SystemError.check(unsafe platform_bind_to_interface(raw, name), "bind to interface", name)
    }

    // MARK: Streams of TCP

    /// For a connection whose bytes are passed on as they come.
    package func prepareForRelay() { platform_stream_prepare(raw) }

    /// Ends what is sent on a stream; what comes may go on.
    package func finishSending() { _ = platform_stream_finish(raw) }

    /// Makes closing it end the connection with a reset.
    package func resetWhenClosed() { platform_stream_reset(raw) }

    /// Who is at the other end; nil if nobody is any more.
    package var internetPeer: SocketAddress? {
        var peer = platform_inet_address()
        return unsafe platform_inet_peer(raw, &peer) == 0 ? SocketAddress(raw: peer) : nil
    }
}
