// SPDX-License-Identifier: Apache-2.0
import Platform

/// A connected unix socket that this process was started with, behind which there is a machine.
package struct InheritedDescriptor: Equatable, Sendable {
    package let raw: Int32
    /// A stream, each frame behind its length; else datagrams, each a frame.
    package let isStream: Bool

    /// Looks at descriptor `raw` and takes nothing over.
    /// - Throws: what it is instead of what it should be.
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
                    "descriptor \(raw) is no socket; it must be one end of a connected unix socket, as socketpair makes them"
                )
            default: throw ListenerError(.unsuitable, error.description)
            }
        }
        guard kind.isUnix else {
            throw ListenerError(
                .unsuitable,
                "descriptor \(raw) is a socket of another kind than unix; frames are taken from unix sockets only")
        }
        guard kind.isStream || kind.isDatagram else {
            throw ListenerError(.unsuitable, "descriptor \(raw) is neither a stream nor a datagram socket")
        }
        guard !kind.isListening else {
            throw ListenerError(.unsuitable, "descriptor \(raw) is a listening socket; use --stream with its path")
        }
        guard kind.isConnected else {
            throw ListenerError(
                .unsuitable,
                "descriptor \(raw) is not connected to anything; its other end must be held by the machine's program")
        }
        self.raw = raw
        isStream = kind.isStream
    }
}
