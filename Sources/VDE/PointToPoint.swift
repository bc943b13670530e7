// SPDX-License-Identifier: Apache-2.0
import Platform

/// One end of a VDE cable without a switch, as libvdeplug and vdeplug 4.0 lay it: two datagram sockets, called PATH and PATH+.
///
/// The first to come binds PATH and waits; the second binds PATH+ and connects to PATH. The first learns of the second from its first frame
/// and then connects back. An empty datagram means goodbye.
package struct PointToPoint: ~Copyable {
    /// The data socket.
    package let socket: Descriptor
    /// Where ours is bound.
    package let ownPath: String
    /// Where the other end is, or will be.
    package let peerPath: String
    /// True for the end that came first.
    package let isFirst: Bool

    private let inode: UInt64?

    /// Takes the end that is free.
    package init(path: String, group: UInt32?) throws(PlugError) {
        let socket = try PointToPoint.makeSocket()
        let isFirst: Bool
        do throws(SystemError) {
            isFirst = try PointToPoint.claim(path, for: socket)
            if !isFirst {
                guard try PointToPoint.claim(path + "+", for: socket) else { throw SystemError(code: Errno.busy, "claim", path) }
            }
            try PointToPoint.finish(socket, at: isFirst ? path : path + "+", group: group, connectingTo: isFirst ? nil : path)
        } catch {
            if error.code == Errno.busy || error.code == Errno.notPermitted {
                throw PlugError(.occupied, "both ends of the cable at \(path) are in use; take another path, or a switch if there are more than two")
            }
            throw PlugError(error, path: path)
        }
        self.socket = socket
        self.isFirst = isFirst
        ownPath = isFirst ? path : path + "+"
        peerPath = isFirst ? path + "+" : path
        inode = (try? Files.status(ownPath, followLinks: false))?.inode
    }

    /// Says goodbye, and removes our name unless somebody else has taken it meanwhile.
    deinit {
        _ = try? socket.send([])
        if let inode, (try? Files.status(ownPath, followLinks: false))?.inode == inode { try? Files.remove(ownPath) }
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

    /// Sets who may use the bound `socket`, and connects the second end to the first.
    private static func finish(_ socket: borrowing Descriptor, at own: String, group: UInt32?, connectingTo peer: String?) throws(SystemError) {
        do throws(SystemError) {
            if let group { try Files.setOwner(own, user: nil, group: group) }
            try Files.setMode(own, group == nil ? 0o700 : 0o770)
            if let peer { try socket.connect(to: UnixPath(peer)) }
        } catch {
            try? Files.remove(own)
            throw error
        }
    }

    /// Binds `path`, replacing a socket that nobody holds any more. Returns false if somebody does.
    private static func claim(_ path: String, for socket: borrowing Descriptor) throws(SystemError) -> Bool {
        let name = try UnixPath(path)
        do {
            try socket.bind(to: name)
            return true
        } catch where error.code == Errno.addressInUse {
            guard try Files.status(path, followLinks: false).kind == .socket else { throw SystemError(code: Errno.exists, "bind", path) }
            do {
                try UnixSocket.datagram().connect(to: name)
                return false
            } catch where error.code == Errno.refused {
                try Files.remove(path)
                try socket.bind(to: name)
                return true
            } catch where error.code == Errno.notPermitted {
                // Alive, and connected to somebody.
                return false
            }
        }
    }

    /// Connects to the other end. Returns false if it is not there yet.
    package func pair() -> Bool {
        guard let path = try? UnixPath(peerPath) else { return false }
        return (try? socket.connect(to: path)) != nil
    }

    /// Forgets the other end, so that a new one can come.
    package func unpair() { try? socket.disconnect() }
}
