// SPDX-License-Identifier: Apache-2.0
import Platform

/// A socket that systemd or launchd made, and on whose first client they have started this process.
package struct ActivatedSocket: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        case listener(Listener.Kind)
        /// A connection, of a socket unit with `Accept=yes`.
        case machine(InheritedDescriptor)
    }

    package let raw: Int32
    package let kind: Kind
    package let path: String

    /// What launchd gave, which is told once.
    private static let launchd = Mutex<[Int32]?>(nil)

    /// All that there are. Takes nothing over.
    /// - Throws: which of them is nothing to make a listener of.
    package static func all() throws(ListenerError) -> [ActivatedSocket] {
        let fromLaunchd = launchd.withLock { known in
            let found = known ?? StartSockets.fromLaunchd("stream") + StartSockets.fromLaunchd("dgram")
            known = found
            return found
        }
        var sockets: [ActivatedSocket] = []
        for raw in StartSockets.fromSystemd() + fromLaunchd { sockets.append(try ActivatedSocket(raw)) }
        return sockets
    }

    package init(_ raw: Int32) throws(ListenerError) {
        self.raw = raw
        path = StartSockets.path(of: raw)
        guard let found = try? SocketKind(of: raw), found.isUnix, found.isStream || found.isDatagram else {
            throw ListenerError(
                .unsuitable,
                "the service manager has passed descriptor \(raw), which is no unix socket; give ListenStream or ListenDatagram a path"
            )
        }
        if found.isConnected {
            kind = .machine(try InheritedDescriptor(raw))
        } else if found.isStream {
            guard found.isListening else {
                throw ListenerError(
                    .unsuitable,
                    "the service manager has passed descriptor \(raw), a stream socket that does not listen")
            }
            kind = .listener(.stream)
        } else {
            kind = .listener(.datagram)
        }
    }
}
