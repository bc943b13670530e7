// SPDX-License-Identifier: Apache-2.0
import Platform

/// One end of a point-to-point cable without a switch, in the form of libvdeplug and vdeplug 4.0: two datagram sockets,
/// bound to PATH and PATH+.
///
/// The first end binds PATH and waits. The second binds PATH+ and connects to PATH. The first end connects back when it
/// receives the first frame. An empty datagram ends the session.
package struct PointToPoint: ~Copyable {
    /// The data socket.
    package let socket: Descriptor
    /// The path that this end is bound to.
    package let ownPath: String
    /// The path of the other end.
    package let peerPath: String
    /// Whether this end bound PATH, and not PATH+.
    package let isFirst: Bool

    private let bound: BoundSocket

    /// Binds the end that is free.
    /// - Parameter group: the group that may write to the socket; nil: none.
    package init(path: String, group: UInt32?) throws(PlugError) {
        let socket = try PointToPoint.makeSocket()
        let bound: BoundSocket, isFirst: Bool
        do throws(SystemError) {
            _ = try UnixPath(path + "+")
            let name = try Directory.name(of: path)
            let directory = try Directory.open(above: path, .trustedLinks)
            if let first = try PointToPoint.claim(name, in: directory, for: socket, group) {
                (bound, isFirst) = (first, true)
            } else {
                guard let second = try PointToPoint.claim(name + "+", in: directory, for: socket, group) else {
                    throw SystemError(code: Errno.busy, "claim", path)
                }
                try socket.connect(to: UnixPath(path))
                (bound, isFirst) = (second, false)
            }
        } catch {
            if error.code == Errno.busy || (error.code == Errno.notPermitted && error.operation == "connect") {
                throw PlugError(
                    .occupied,
                    "both ends of the cable at \(path) are in use; use another path, or a switch for more than two ends"
                )
            }
            throw PlugError(error, path: path)
        }
        self.socket = socket
        self.bound = bound
        self.isFirst = isFirst
        ownPath = isFirst ? path : path + "+"
        peerPath = isFirst ? path + "+" : path
    }

    /// Ends the session, and removes the name unless another socket has taken it.
    deinit {
        _ = try? socket.send([])
        bound.remove()
    }

    private static func makeSocket() throws(PlugError) -> Descriptor {
        do throws(SystemError) {
            let socket = try Socket.unixDatagram()
            socket.setBuffers(send: 1 << 20, receive: 4 << 20)
            return socket
        } catch {
            throw PlugError(.system, error.explanation)
        }
    }

    /// Binds at `name`, replacing a socket whose process has ended. Returns nil if a process uses the socket.
    private static func claim(
        _ name: String, in directory: borrowing Directory, for socket: borrowing Descriptor, _ group: UInt32?
    ) throws(SystemError) -> BoundSocket? {
        let access = Directory.SocketAccess(mode: group == nil ? 0o700 : 0o770, group: group)
        for _ in 0..<2 {
            do throws(SystemError) {
                return try BoundSocket(socket, in: directory, name, [access], bindsPath: true)
            } catch {
                guard error.code == Errno.addressInUse else { throw error }
            }
            let there = try directory.status(of: name)
            guard there.kind == .socket else { throw SystemError(code: Errno.exists, "bind", directory.path(of: name)) }
            do throws(SystemError) {
                try directory.connect(try Socket.unixDatagram(), to: name)
                return nil
            } catch {
                // The socket is in use, and connected to another one.
                if error.code == Errno.notPermitted { return nil }
                guard error.code == Errno.refused else { throw error }
            }
            if directory.has(name, there) { try directory.remove(name) }
        }
        throw SystemError(code: Errno.busy, "claim", directory.path(of: name))
    }

    /// Connects to the other end. Returns false if that does not exist yet.
    package func pair() -> Bool {
        guard let path = try? UnixPath(peerPath) else { return false }
        return (try? socket.connect(to: path)) != nil
    }

    /// Disconnects from the other end, so that a new one can connect.
    package func unpair() { try? socket.disconnect() }
}
