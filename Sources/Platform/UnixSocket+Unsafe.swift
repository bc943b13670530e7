// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Unix sockets: non-blocking, close-on-exec, without SIGPIPE. Every function that returns a `Descriptor` hands it to
/// the caller.
package enum UnixSocket {
    #if os(Linux)
        static let streamType = Int32(SOCK_STREAM.rawValue), datagramType = Int32(SOCK_DGRAM.rawValue)
    #else
        static let streamType = SOCK_STREAM, datagramType = SOCK_DGRAM
    #endif

    package static func stream() throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_socket(AF_UNIX, streamType), "socket")
    }

    package static func datagram() throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_socket(AF_UNIX, datagramType), "socket")
    }

    package static func internetDatagram(ipv6: Bool = false) throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_socket(ipv6 ? AF_INET6 : AF_INET, datagramType), "socket")
    }

    package static func internetStream(ipv6: Bool = false) throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_socket(ipv6 ? AF_INET6 : AF_INET, streamType), "socket")
    }
}

/// What kind of socket an inherited descriptor is.
package struct SocketKind: Equatable, Sendable {
    package let isUnix: Bool
    package let isStream: Bool
    package let isDatagram: Bool
    package let isListening: Bool
    package let isConnected: Bool

    /// Looks at a descriptor, whoever owns it.
    package init(of raw: Int32) throws(SystemError) {
        var kind = platform_socket_kind()
        try SystemError.check(unsafe platform_socket_kind(raw, &kind), "use descriptor", String(raw))
        isUnix = kind.is_unix != 0
        isStream = kind.is_stream != 0
        isDatagram = kind.is_datagram != 0
        isListening = kind.is_listening != 0
        isConnected = kind.is_connected != 0
    }
}

/// Sockets that whoever started this process has made for it.
package enum StartSockets {
    /// From launchd, under a name of the property list. They can be asked for once.
    package static func fromLaunchd(_ name: String) -> [Int32] {
        var found = [Int32](repeating: -1, count: 16)
        let count = unsafe platform_launchd_sockets(name, &found, Int32(found.count))
        return Array(found.prefix(Int(count)))
    }

    /// From systemd (sd_listen_fds(3)): the descriptors from 3 on, where they are meant for this process.
    package static func fromSystemd() -> [Int32] {
        guard let process = Accounts.environment("LISTEN_PID"), Int32(process) == Accounts.processID,
            let text = Accounts.environment("LISTEN_FDS"), let count = Int32(text),
            (1...64).contains(count)
        else { return [] }
        return Array(3..<3 + count)
    }

    /// The path that a unix socket is bound to; empty for none.
    package static func path(of raw: Int32) -> String {
        var path = [UInt8](repeating: 0, count: 128)
        let length = unsafe platform_unix_bound_path(raw, &path, path.count)
        return String(decoding: path.prefix(max(0, Int(length))), as: UTF8.self)
    }
}

extension Descriptor {
    /// Takes over a descriptor that this process was started with, and keeps it from programs that we start.
    package init(inheriting raw: Int32) {
        self.init(adopting: raw)
        _ = platform_fcntl(raw, F_SETFD, FD_CLOEXEC)
    }

    package func bind(to path: UnixPath) throws(SystemError) {
        let result = unsafe path.bytes.withUnsafeBufferPointer {
            unsafe platform_unix_bind(raw, $0.baseAddress, $0.count)
        }
        try SystemError.check(result, "bind", path.description)
    }

    /// Calls `bind`, which binds `socket`, so that no other user may use the socket until its mode is changed.
    static func withPrivateBinding(
        of socket: borrowing Descriptor, _ bind: () throws(SystemError) -> Void
    ) throws(SystemError) {
        // Linux takes the mode of the file from the socket (net/unix/af_unix.c). Where that is not possible the mask
        // does it, which all threads share: files that others make meanwhile get no rights for others either.
        let mask = fchmod(socket.raw, 0o600) == 0 ? nil : umask(0o177)
        defer { if let mask { _ = umask(mask) } }
        try bind()
    }

    package func connect(to path: UnixPath) throws(SystemError) {
        let result = unsafe path.bytes.withUnsafeBufferPointer {
            unsafe platform_unix_connect(raw, $0.baseAddress, $0.count)
        }
        try SystemError.check(result, "connect", path.description)
    }

    /// Connects to a socket that must belong to `owner`; 0 may name anybody's.
    package func connect(to path: UnixPath, ownedBy owner: UInt32) throws(SystemError) {
        let result = unsafe path.bytes.withUnsafeBufferPointer {
            unsafe platform_unix_connect_owned(raw, $0.baseAddress, $0.count, owner)
        }
        try SystemError.check(result, "connect", path.description)
    }

    /// Makes a connected datagram socket receive from anybody again.
    package func disconnect() throws(SystemError) {
        try SystemError.check(platform_unix_disconnect(raw), "disconnect")
    }

    /// Receives a descriptor that the other end has sent.
    package func receiveDescriptor() throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_receive_descriptor(raw), "receive a descriptor")
    }

    package func listen(backlog: Int32 = 64) throws(SystemError) {
        #if canImport(Darwin)
            try SystemError.checkErrno(Darwin.listen(raw, backlog), "listen")
        #elseif canImport(Musl)
            try SystemError.checkErrno(Musl.listen(raw, backlog), "listen")
        #else
            try SystemError.checkErrno(Glibc.listen(raw, backlog), "listen")
        #endif
    }

    package func accept() throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_accept(raw), "accept")
    }

    /// Asks for socket buffers of these sizes in bytes; the system may give less.
    package func setBuffers(send: Int32, receive: Int32) { platform_socket_buffers(raw, send, receive) }

    /// The pending error of a socket as a positive errno, 0 if none.
    package var pendingError: Int32 { platform_socket_error(raw) }

    /// Process, user and group of the other end of a connected unix stream socket.
    package func peerCredentials() throws(SystemError) -> (process: Int32, user: UInt32, group: UInt32) {
        var process: Int32 = 0, user: UInt32 = 0, group: UInt32 = 0
        try SystemError.check(unsafe platform_peer_credentials(raw, &process, &user, &group), "peer credentials")
        return (process, user, group)
    }
}
