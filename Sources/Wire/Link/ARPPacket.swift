// SPDX-License-Identifier: Apache-2.0

/// An ARP packet for IPv4 over Ethernet (RFC 826).
@usableFromInline
package struct ARPPacket: Equatable, Sendable {
    /// Operations of RFC 826.
    @usableFromInline
    package enum Operation: UInt16, Sendable {
        /// Requests the hardware address of the target.
        case request = 1
        /// The sender's hardware address.
        case reply = 2
    }

    /// Bytes of a packet.
    @inlinable package static var length: Int { 28 }

    /// Offsets in bytes from the start of the packet.
    @usableFromInline
    package enum Field {
        /// 1 for Ethernet.
        @inlinable package static var hardwareType: Int { 0 }
        /// An EtherType.
        @inlinable package static var protocolType: Int { 2 }
        /// Length of a hardware address and of a protocol address, a byte each.
        @inlinable package static var lengths: Int { 4 }
        /// `Operation`.
        @inlinable package static var operation: Int { 6 }
        /// Six bytes.
        @inlinable package static var senderHardware: Int { 8 }
        /// Four bytes.
        @inlinable package static var senderAddress: Int { 14 }
        /// Six bytes.
        @inlinable package static var targetHardware: Int { 18 }
        /// Four bytes.
        @inlinable package static var targetAddress: Int { 24 }
    }

    private static let ethernet: UInt16 = 1
    /// Six bytes of hardware address, four of IPv4 address.
    private static let lengths: UInt16 = 0x0604

    /// Request or reply.
    @usableFromInline package var operation: Operation
    /// The sender's hardware address.
    @usableFromInline package var senderHardware: MACAddress
    /// The sender's address; `any` in a probe.
    @usableFromInline package var senderAddress: IPv4Address
    /// The receiver's hardware address in a reply; ignored in a request.
    @usableFromInline package var targetHardware: MACAddress
    /// The address that a request is about.
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
