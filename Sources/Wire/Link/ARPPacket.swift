// SPDX-License-Identifier: Apache-2.0

/// An ARP packet for IPv4 over Ethernet (RFC 826).
@usableFromInline
package struct ARPPacket: Equatable, Sendable {
    /// Operations of RFC 826.
    @usableFromInline
    package enum Operation: UInt16, Sendable {
        case request = 1
        case reply = 2
    }

    /// Bytes of a packet.
    @inlinable package static var length: Int { 28 }

    /// Offsets in bytes from the start of the packet.
    @usableFromInline
    package enum Field {
        @inlinable package static var hardwareType: Int { 0 }
        @inlinable package static var protocolType: Int { 2 }
        /// Length of a hardware address and of a protocol address, a byte each.
        @inlinable package static var lengths: Int { 4 }
        @inlinable package static var operation: Int { 6 }
        @inlinable package static var senderHardware: Int { 8 }
        @inlinable package static var senderAddress: Int { 14 }
        @inlinable package static var targetHardware: Int { 18 }
        @inlinable package static var targetAddress: Int { 24 }
    }

    private static let ethernet: UInt16 = 1
    /// Six bytes of hardware address, four of IPv4 address.
    private static let lengths: UInt16 = 0x0604

    @usableFromInline package var operation: Operation
    @usableFromInline package var senderHardware: MACAddress
    @usableFromInline package var senderAddress: IPv4Address
    @usableFromInline package var targetHardware: MACAddress
    @usableFromInline package var targetAddress: IPv4Address

    /// A packet to send.
    package init(
        operation: Operation, senderHardware: MACAddress, senderAddress: IPv4Address, targetHardware: MACAddress,
        targetAddress: IPv4Address
    ) {
        self.operation = operation
        self.senderHardware = senderHardware
        self.senderAddress = senderAddress
        self.targetHardware = targetHardware
        self.targetAddress = targetAddress
    }

    /// An ARP probe (RFC 5227 section 1.1): a request for `target` that claims no address for the sender.
    package static func probe(for target: IPv4Address, from hardware: MACAddress) -> ARPPacket {
        ARPPacket(
            operation: .request, senderHardware: hardware, senderAddress: .any, targetHardware: .zero,
            targetAddress: target)
    }

    /// Parses the payload of an Ethernet frame of type ARP. Padding after the packet is ignored.
    /// - Throws: `truncated` below 28 bytes; `badField` if it is not about IPv4 over Ethernet, or the operation is
    ///   neither request nor reply.
    package init(parsing bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= ARPPacket.length else { throw .truncated }
        guard bytes.big16(at: Field.hardwareType) == ARPPacket.ethernet,
            bytes.big16(at: Field.protocolType) == EtherType.ipv4, bytes.big16(at: Field.lengths) == ARPPacket.lengths,
            let operation = Operation(rawValue: bytes.big16(at: Field.operation))
        else { throw .badField }
        self.init(
            operation: operation,
            senderHardware: MACAddress(bytes, at: Field.senderHardware),
            senderAddress: IPv4Address(bytes, at: Field.senderAddress),
            targetHardware: MACAddress(bytes, at: Field.targetHardware),
            targetAddress: IPv4Address(bytes, at: Field.targetAddress))
    }

    /// Appends the packet. Allocates: not for the data path.
    package func emit(into writer: inout ByteWriter) {
        writer.put16(ARPPacket.ethernet)
        writer.put16(EtherType.ipv4)
        writer.put16(ARPPacket.lengths)
        writer.put16(operation.rawValue)
        writer.put(senderHardware)
        writer.put(senderAddress)
        writer.put(targetHardware)
        writer.put(targetAddress)
    }

    /// The whole Ethernet frame from the sender's hardware address, 42 bytes.
    package func frame(to destination: MACAddress) -> [UInt8] {
        var writer = ByteWriter(capacity: EthernetHeader.length + ARPPacket.length)
        EthernetHeader(destination: destination, source: senderHardware, type: EtherType.arp).emit(into: &writer)
        emit(into: &writer)
        return writer.bytes
    }
}
