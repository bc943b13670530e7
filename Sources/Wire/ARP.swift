// SPDX-License-Identifier: Apache-2.0

/// An ARP packet for IPv4 over Ethernet (RFC 826).
package struct ARPPacket: Equatable, Sendable {
    package enum Operation: UInt16, Sendable {
        case request = 1
        case reply = 2
    }

    package static let length = 28

    package var operation: Operation
    package var senderHardware: MACAddress
    package var senderAddress: IPv4Address
    package var targetHardware: MACAddress
    package var targetAddress: IPv4Address

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

    /// An address probe (RFC 5227 section 1.1): who has `target`, asked without claiming an address of one's own.
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
        guard bytes.big16(at: 0) == 1, bytes.big16(at: 2) == EtherType.ipv4, bytes.big16(at: 4) == 0x0604,
            let operation = Operation(rawValue: bytes.big16(at: 6))
        else { throw .badField }
        self.init(
            operation: operation,
            senderHardware: MACAddress(bytes.big64(at: 8) >> 16), senderAddress: IPv4Address(bytes.big32(at: 14)),
            targetHardware: MACAddress(bytes.big64(at: 18) >> 16), targetAddress: IPv4Address(bytes.big32(at: 24)))
    }

    package func emit(into writer: inout ByteWriter) {
        writer.put16(1)
        writer.put16(EtherType.ipv4)
        writer.put16(0x0604)
        writer.put16(operation.rawValue)
        writer.put(senderHardware)
        writer.put(senderAddress)
        writer.put(targetHardware)
        writer.put(targetAddress)
    }

    /// The whole Ethernet frame, 42 bytes.
    package func frame(to destination: MACAddress) -> [UInt8] {
        var writer = ByteWriter(capacity: 42)
        EthernetHeader(destination: destination, source: senderHardware, type: EtherType.arp).emit(into: &writer)
        emit(into: &writer)
        return writer.bytes
    }
}
