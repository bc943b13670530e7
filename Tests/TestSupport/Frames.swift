// SPDX-License-Identifier: Apache-2.0
import Wire

/// One side of a packet: hardware address, IP address and, for UDP and TCP, port.
package struct Endpoint: Sendable {
    package var hardware: MACAddress
    package var address: IPv4Address
    package var port: UInt16

    package init(_ hardware: MACAddress, _ address: IPv4Address = .any, port: UInt16 = 0) {
        self.hardware = hardware
        self.address = address
        self.port = port
    }

    /// Guest `number` of the default network: 52:54:00:00:00:NN at 192.168.105.NN.
    package static func guest(_ number: Int, port: UInt16 = 0) -> Endpoint {
        Endpoint(Frames.mac(number), IPv4Address(0xc0a8_6900 | UInt32(number)), port: port)
    }
}

/// Ethernet frames for tests, with valid checksums and lengths. Tests that need an invalid frame change a byte of one.
package enum Frames {
    /// 52:54:00 with `number` after it: the addresses that QEMU gives its guests.
    package static func mac(_ number: Int) -> MACAddress { MACAddress(0x5254_0000_0000 | UInt64(number)) }

    /// A frame with any payload. The default type is the one for local experiments (IEEE 802).
    package static func ethernet(
        to destination: MACAddress, from source: MACAddress, type: UInt16 = 0x88b5, _ payload: [UInt8] = []
    ) -> [UInt8] {
        var writer = ByteWriter()
        EthernetHeader(destination: destination, source: source, type: type).emit(into: &writer)
        writer.put(payload)
        return writer.bytes
    }

    /// An ARP request (RFC 826) from `source` for `target`, broadcast.
    package static func arpRequest(from source: Endpoint, for target: IPv4Address) -> [UInt8] {
        ARPPacket(
            operation: .request, senderHardware: source.hardware, senderAddress: source.address,
            targetHardware: .zero, targetAddress: target
        ).frame(to: .broadcast)
    }

    /// An ARP reply in which `source` claims its address.
    package static func arpReply(from source: Endpoint, to target: Endpoint) -> [UInt8] {
        ARPPacket(
            operation: .reply, senderHardware: source.hardware, senderAddress: source.address,
            targetHardware: target.hardware, targetAddress: target.address
        ).frame(to: target.hardware)
    }

    /// An IPv4 packet.
    /// - Parameter fragment: the 16 bits of flags and fragment offset; the default is "don't fragment".
    package static func ipv4(
        _ protocolNumber: UInt8, from source: Endpoint, to destination: Endpoint, fragment: UInt16 = 0x4000,
        identification: UInt16 = 0, _ payload: [UInt8]
    ) -> [UInt8] {
        var writer = ByteWriter()
        EthernetHeader(destination: destination.hardware, source: source.hardware, type: EtherType.ipv4)
            .emit(into: &writer)
        let start = writer.count
        var header = IPv4Header(
            source: source.address, destination: destination.address, protocolNumber: protocolNumber)
        header.identification = identification
        header.emit(into: &writer, payloadLength: payload.count)
        writer.patch16(fragment, at: start + 6)
        writer.patch16(0, at: start + 10)
        writer.patch16(writer.checksum(from: start).finished, at: start + 10)
        writer.put(payload)
        return writer.bytes
    }

    /// A UDP datagram (RFC 768).
    package static func udp(from source: Endpoint, to destination: Endpoint, _ payload: [UInt8] = []) -> [UInt8] {
        UDPFrame(
            from: (source.hardware, source.address, source.port),
            to: (destination.hardware, destination.address, destination.port)
        ).bytes(payload: payload)
    }

    /// A TCP segment (RFC 9293).
    /// - Parameter options: of a length that is a multiple of four.
    package static func tcp(
        _ flags: TCPFlags, from source: Endpoint, to destination: Endpoint, sequence: UInt32 = 1000,
        acknowledgment: UInt32 = 0, window: UInt16 = 0xffff, options: [UInt8] = [], _ payload: [UInt8] = []
    ) -> [UInt8] {
        var writer = ByteWriter()
        writer.put16(source.port)
        writer.put16(destination.port)
        writer.put32(sequence)
        writer.put32(acknowledgment)
        writer.put8(UInt8((20 + options.count) / 4) << 4)
        writer.put8(flags.rawValue)
        writer.put16(window)
        writer.put32(0)
        writer.put(options)
        writer.put(payload)
        let pseudoHeader = InternetChecksum.pseudoHeader(
            source: source.address, destination: destination.address, protocolNumber: IPProtocol.tcp,
            length: writer.count)
        writer.patch16(writer.checksum(from: 0, adding: pseudoHeader).finished, at: 16)
        return ipv4(IPProtocol.tcp, from: source, to: destination, writer.bytes)
    }

    /// An ICMP echo (RFC 792).
    package static func echo(
        _ kind: ICMPEcho.Kind = .request, from source: Endpoint, to destination: Endpoint, identifier: UInt16 = 7,
        sequence: UInt16 = 1, _ payload: [UInt8] = [1, 2, 3, 4]
    ) -> [UInt8] {
        var writer = ByteWriter()
        ICMPEcho(kind: kind, identifier: identifier, sequence: sequence, payload: payload).emit(into: &writer)
        return ipv4(IPProtocol.icmp, from: source, to: destination, writer.bytes)
    }

    /// A broadcast message of a DHCP client (RFC 2131) that has no address yet.
    /// - Parameter change: sets further fields and options.
    package static func dhcp(
        _ kind: DHCPv4Message.Kind, from hardware: MACAddress, transactionID: UInt32 = 0x1234_5678,
        _ change: (inout DHCPv4Message) -> Void = { _ in }
    ) -> [UInt8] {
        var message = DHCPv4Message(isReply: false, transactionID: transactionID, clientHardware: hardware)
        message[.messageType] = [kind.rawValue]
        change(&message)
        return udp(
            from: Endpoint(hardware, port: 68), to: Endpoint(.broadcast, .broadcast, port: 67), message.bytes())
    }

    /// The message to a DHCP client that a frame holds, nil if it holds none.
    package static func dhcpMessage(in frame: [UInt8]) -> DHCPv4Message? {
        guard let ethernet = try? EthernetView(frame.rawSpan), ethernet.type == EtherType.ipv4,
            let packet = try? IPv4View(ethernet.payload), packet.protocolNumber == IPProtocol.udp,
            let datagram = try? UDPView(packet.payload), datagram.destinationPort == 68
        else { return nil }
        return try? DHCPv4Message(parsing: datagram.payload)
    }
}
