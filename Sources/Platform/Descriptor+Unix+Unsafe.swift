// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

extension Descriptor {
    /// Takes over a descriptor that this process was started with, and sets close-on-exec.
    package init(inheriting raw: Int32) {
        self.init(adopting: raw)
        _ = platform_fcntl(raw, F_SETFD, FD_CLOEXEC)
    }

    /// Binds the socket to a path.
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
        // Linux gives the socket's file the mode of the socket's inode (net/unix/af_unix.c). If fchmod fails, umask
        // does it instead. All threads share the umask: files that they create meanwhile are closed to others as well.
        let mask = fchmod(socket.raw, 0o600) == 0 ? nil : umask(0o177)
        defer { if let mask { _ = umask(mask) } }
        try bind()
    }

    /// Connects to the socket at a path.
    package func connect(to path: UnixPath) throws(SystemError) {
        let result = unsafe path.bytes.withUnsafeBufferPointer {
            unsafe platform_unix_connect(raw, $0.baseAddress, $0.count)
        }
        try SystemError.check(result, "connect", path.description)
    }

    /// Connects to a socket that must belong to `owner`; for 0 (root) it may belong to any user.
    package func connect(to path: UnixPath, ownedBy owner: UInt32) throws(SystemError) {
        let result = unsafe path.bytes.withUnsafeBufferPointer {
            unsafe platform_unix_connect_owned(raw, $0.baseAddress, $0.count, owner)
        }
        try SystemError.check(result, "connect", path.description)
    }

    /// Dissolves a datagram socket's association: it receives from any sender again.
    package func disconnect() throws(SystemError) {
        try SystemError.check(platform_unix_disconnect(raw), "disconnect")
    }

    /// Receives a descriptor that the peer has sent (SCM_RIGHTS). The caller owns it.
    package func receiveDescriptor() throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_receive_descriptor(raw), "receive a descriptor")
    }

    /// Makes the socket accept connections, `backlog` waiting ones at most.
    package func listen(backlog: Int32 = 64) throws(SystemError) {
        try SystemError.checkErrno(systemListen(raw, backlog), "listen")
    }

    /// Accepts one connection. The caller owns it. `acceptClient` handles the errors.
    package func accept() throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_accept(raw), "accept")
    }

    /// Sets the sizes of the socket's buffers in bytes; the system may grant less.
    package func setBuffers(send: Int32, receive: Int32) { platform_socket_buffers(raw, send, receive) }

    /// The pending error of a socket as a positive errno, 0 if none.
    package var pendingError: Int32 { platform_socket_error(raw) }

    /// Process, user and group of the peer of a connected unix stream socket (SO_PEERCRED).
    package func peerCredentials() throws(SystemError) -> (process: Int32, user: UInt32, group: UInt32) {
        var process: Int32 = 0, user: UInt32 = 0, group: UInt32 = 0
        try SystemError.check(unsafe platform_peer_credentials(raw, &process, &user, &group), "peer credentials")
        return (process, user, group)
    }
}
