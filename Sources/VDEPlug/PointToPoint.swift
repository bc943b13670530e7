// SPDX-License-Identifier: Apache-2.0
import Platform

/// One end of a VDE cable without a switch, as libvdeplug and vdeplug 4.0 lay it: two datagram sockets, called PATH and
/// PATH+.
///
/// The first to come binds PATH and waits; the second binds PATH+ and connects to PATH. The first learns of the second
/// from its first frame and then connects back. An empty datagram means goodbye.
package struct PointToPoint: ~Copyable {
    /// The data socket.
    package let socket: Descriptor
    /// Where ours is bound.
    package let ownPath: String
    /// Where the other end is, or will be.
    package let peerPath: String
    /// True for the end that came first.
    package let isFirst: Bool

    private let bound: BoundSocket

    /// Takes the end that is free.
    package init(path: String, group: UInt32?) throws(PlugError) {
        let socket = try PointToPoint.makeSocket()
        let bound: BoundSocket, isFirst: Bool
        do throws(SystemError) {
            _ = try UnixPath(path + "+")
            let name = try Directory.name(of: path)
            let directory = try Directory.open(above: path, .ownersOfLinks)
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
                    "both ends of the cable at \(path) are in use; take another path, or a switch if there are more than two"
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

    /// Says goodbye, and removes our name unless somebody else has taken it meanwhile.
    deinit {
        _ = try? socket.send([])
        bound.remove()
    }

    private static func makeSocket() throws(PlugError) -> Descriptor {
        do throws(SystemError) {
            let socket = try UnixSocket.datagram()
            socket.setBuffers(send: 1 << 20, receive: 4 << 20)
            return socket
        } catch {
            throw PlugError(.system, error.description)
        }
    }

    /// Binds at `name`, replacing a socket that no process holds any more. Returns nil if one does.
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
                try directory.connect(try UnixSocket.datagram(), to: name)
                return nil
            } catch {
                // Alive, and connected to somebody.
                if error.code == Errno.notPermitted { return nil }
                guard error.code == Errno.refused else { throw error }
            }
            if directory.has(name, there) { try directory.remove(name) }
        }
        throw SystemError(code: Errno.busy, "claim", directory.path(of: name))
    }

    /// Connects to the other end. Returns false if it is not there yet.
    package func pair() -> Bool {
        guard let path = try? UnixPath(peerPath) else { return false }
        return (try? socket.connect(to: path)) != nil
    }

    /// Forgets the other end, so that a new one can come.
    package func unpair() { try? socket.disconnect() }
}
