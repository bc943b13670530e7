// SPDX-License-Identifier: Apache-2.0

// The format of captures: pcapng (draft-ietf-opsawg-pcapng), little-endian, one section. Every block has a type, a
// length, a body of 32-bit words, and the length again.

/// Constants of pcapng.
package enum Pcapng {
    /// Types of blocks (draft-ietf-opsawg-pcapng section 4).
    package enum BlockType {
        /// Begins a section.
        package static let sectionHeader: UInt32 = 0x0a0d_0d0a
        /// Describes an interface. Its number is its position among these blocks.
        package static let interfaceDescription: UInt32 = 1
        /// Has one frame.
        package static let enhancedPacket: UInt32 = 6
        /// Has the counters of an interface.
        package static let interfaceStatistics: UInt32 = 5
    }

    /// Codes of options (sections 3.5, 4.1, 4.2, 4.3, 4.6).
    enum Option {
        static let end: UInt16 = 0
        static let comment: UInt16 = 1
        static let userApplication: UInt16 = 4
        static let interfaceName: UInt16 = 2
        static let interfaceDescription: UInt16 = 3
        static let timeResolution: UInt16 = 9
        static let packetFlags: UInt16 = 2
        static let receivedFrames: UInt16 = 4
        static let lostFrames: UInt16 = 5
    }

    static let byteOrderMagic: UInt32 = 0x1a2b_3c4d
    /// LINKTYPE_ETHERNET.
    static let ethernet: UInt16 = 1
    /// Times are in units of 10 to the power of -9 seconds.
    static let nanoseconds: UInt8 = 9
    /// Bytes of the shortest block: the type and two lengths.
    static let smallestBlock = 12
    /// Bytes of the longest block that a reader accepts: the longest frame, and room for its options.
    package static let largestBlock = 1 << 20
    /// Bytes of the longest text that is written.
    static let textLimit = 1024
}

/// A block with the counters of an interface.
package struct CaptureStatistics: Equatable, Sendable {
    /// The interface's number in the file.
    package var interface: UInt32
    /// Frames that the capture has selected, lost ones included.
    package var received: UInt64
    /// Frames that the capture has lost, because its reader was slow.
    package var lost: UInt64

    package init(interface: UInt32, received: UInt64, lost: UInt64) {
        self.interface = interface
        self.received = received
        self.lost = lost
    }
}

/// Which way a frame passes a port.
package enum CaptureDirection: UInt8, Sendable {
    /// Into the switch.
    case inbound = 1
    /// Out of the switch.
    case outbound = 2
}
