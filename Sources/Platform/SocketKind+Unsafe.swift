// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// What kind of socket an inherited descriptor is.
package struct SocketKind: Equatable, Sendable {
    package let isUnix: Bool
    package let isStream: Bool
    package let isDatagram: Bool
    package let isListening: Bool
    package let isConnected: Bool

    /// Examines a descriptor without taking it over.
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
