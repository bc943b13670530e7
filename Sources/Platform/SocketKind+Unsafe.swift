// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// What kind of socket an inherited descriptor is.
package struct SocketKind: Equatable, Sendable {
    /// The family is AF_UNIX.
    package let isUnix: Bool
    /// The type is SOCK_STREAM.
    package let isStream: Bool
    /// The type is SOCK_DGRAM.
    package let isDatagram: Bool
    /// The type is SOCK_SEQPACKET, on a system that has it for unix sockets.
    package let isSequencedPacket: Bool
    /// The socket listens for connections (SO_ACCEPTCONN).
    package let isListening: Bool
    /// The socket has a peer (getpeername(2)).
    package let isConnected: Bool

    /// Examines a descriptor without taking it over.
    package init(of raw: Int32) throws(SystemError) {
        var kind = platform_socket_kind()
        try SystemError.check(unsafe platform_socket_kind(raw, &kind), "use descriptor", String(raw))
        isUnix = kind.is_unix != 0
        isStream = kind.is_stream != 0
        isDatagram = kind.is_datagram != 0
        isSequencedPacket = kind.is_sequenced != 0
        isListening = kind.is_listening != 0
        isConnected = kind.is_connected != 0
    }
}
