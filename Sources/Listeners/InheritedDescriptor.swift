// SPDX-License-Identifier: Apache-2.0
import Platform

/// A connected unix socket that this process was started with, whose peer is a guest's VMM.
package struct InheritedDescriptor: Equatable, Sendable {
    /// The descriptor's number. Not owned.
    package let raw: Int32
    /// A stream, in which a length precedes each frame; otherwise datagrams, one per frame.
    package let isStream: Bool

    /// Examines descriptor `raw`, without taking ownership.
    /// - Throws: if it is not such a socket.
    package init(_ raw: Int32) throws(ListenerError) {
        let kind: SocketKind
        do throws(SystemError) {
            kind = try SocketKind(of: raw)
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
        guard kind.isUnix else {
            throw ListenerError(
                .unsuitable,
                "descriptor \(raw) is not a unix socket; pass a connected unix socket")
        }
        guard kind.isStream || kind.isDatagram else {
            throw ListenerError(
                .unsuitable, "descriptor \(raw) is neither a stream nor a datagram socket; pass one of those")
        }
        guard !kind.isListening else {
            throw ListenerError(.unsuitable, "descriptor \(raw) is a listening socket; use --stream with its path")
        }
        guard kind.isConnected else {
            throw ListenerError(
                .unsuitable,
                "descriptor \(raw) is not connected; connect it to the guest's VMM before starting vde_vmnet")
        }
        self.raw = raw
        isStream = kind.isStream
    }
}
