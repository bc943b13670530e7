// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

/// New sockets: non-blocking, close-on-exec, without SIGPIPE. The caller owns the descriptor.
package enum Socket {
    #if os(Linux)
        static let streamType = Int32(SOCK_STREAM.rawValue), datagramType = Int32(SOCK_DGRAM.rawValue)
        static let sequencedPacketType = Int32(SOCK_SEQPACKET.rawValue)
    #else
        static let streamType = SOCK_STREAM, datagramType = SOCK_DGRAM
        static let sequencedPacketType = SOCK_SEQPACKET
    #endif

    /// A unix stream socket.
    package static func unixStream() throws(SystemError) -> Descriptor { try make(AF_UNIX, streamType) }

    /// A unix datagram socket.
    package static func unixDatagram() throws(SystemError) -> Descriptor { try make(AF_UNIX, datagramType) }

    /// Whether the system has unix sockets of sequenced packets.
    package static var hasSequencedPackets: Bool { platform_sequenced_packets_supported() != 0 }

    /// A unix socket of sequenced packets (SOCK_SEQPACKET), on a system that has them.
    package static func unixSequencedPacket() throws(SystemError) -> Descriptor {
        try make(AF_UNIX, sequencedPacketType)
    }

    /// A TCP socket, of IPv4 unless `ipv6`.
    package static func tcp(ipv6: Bool = false) throws(SystemError) -> Descriptor {
        try make(ipv6 ? AF_INET6 : AF_INET, streamType)
    }

    /// A UDP socket, of IPv4 unless `ipv6`.
    package static func udp(ipv6: Bool = false) throws(SystemError) -> Descriptor {
        try make(ipv6 ? AF_INET6 : AF_INET, datagramType)
    }

    private static func make(_ family: Int32, _ type: Int32) throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_socket(family, type), "socket")
    }
}
