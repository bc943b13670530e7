// SPDX-License-Identifier: Apache-2.0
import Platform

/// A connected unix socket that this process was started with, whose peer is a guest's VMM.
package struct InheritedDescriptor: Equatable, Sendable {
    /// The descriptor's number. Not owned.
    package let raw: Int32
    /// How frames are delimited.
    package let kind: ListenerSocket.Kind

    /// A length precedes each frame.
    package var isStream: Bool { kind == .stream }

    /// Examines descriptor `raw`, without taking ownership.
    /// - Throws: if it is not such a socket.
    package init(_ raw: Int32) throws(ListenerError) {
        let found: SocketKind
        do throws(SystemError) {
            found = try SocketKind(of: raw)
        } catch {
            switch error.code {
            case Errno.badDescriptor:
                throw ListenerError(
                    .unsuitable, "descriptor \(raw) is not open; the program that starts this one must pass it on")
            case Errno.notSocket:
                throw ListenerError(
                    .unsuitable,
                    """
                    descriptor \(raw) is not a socket; pass one end of a connected unix socket, such as one from \
                    socketpair(2)
                    """
                )
            default: throw ListenerError(.unsuitable, error.description)
            }
        }
        guard found.isUnix else {
            throw ListenerError(
                .unsuitable,
                "descriptor \(raw) is not a unix socket; pass a connected unix socket")
        }
        guard let kind = found.listenerKind else {
            throw ListenerError(
                .unsuitable,
                """
                descriptor \(raw) is neither a stream nor a datagram socket, nor one of sequenced packets; pass one of \
                those
                """)
        }
        guard !found.isListening else {
            throw ListenerError(
                .unsuitable, "descriptor \(raw) is a listening socket; use --\(kind.name) with its path")
        }
        guard found.isConnected else {
            throw ListenerError(
                .unsuitable,
                "descriptor \(raw) is not connected; connect it to the guest's VMM before starting vde_vmnet")
        }
        self.raw = raw
        self.kind = kind
    }
}

extension SocketKind {
    /// The kind of listener or client that such a socket can be; nil for none.
    var listenerKind: ListenerSocket.Kind? {
        if isStream { return .stream }
        if isDatagram { return .datagram }
        return isSequencedPacket ? .sequencedPacket : nil
    }
}
