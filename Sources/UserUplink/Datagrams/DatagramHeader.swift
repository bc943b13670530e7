// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// The headers of a datagram for a guest, and how to write the frames round it.
struct DatagramHeader {
    /// Guest and remote end.
    let key: FlowKey
    /// The guest's.
    let hardware: MACAddress
    let gatewayHardware: MACAddress
    var hops: UInt8 = 64
    var trafficClass: UInt8 = 0

    private var isUDP: Bool { key.protocolNumber == IPProtocol.udp }
    private var networkLength: Int { key.isIPv6 ? IPv6Header.length : IPv4Header.length }
    private var transport: Int { EthernetHeader.length + networkLength }
    /// Bytes of all headers; an ICMP message has its own.
    private var length: Int { transport + (isUDP ? UDPHeader.length : 0) }

    /// Appends the datagram to the guests' output, in fragments if it is longer than the link's MTU. A UDP checksum of
    /// a single frame stays partial (`needsChecksum`), the port that needs it completes it.
    /// - Parameters:
    ///   - payload: after the UDP header, or a whole ICMP message with its checksum.
    ///   - mtu: bytes of the longest IP packet on the guests' link.
    /// - Returns: false if IP has no packet that long.
    @discardableResult
    func append(_ payload: RawSpan, to output: GuestOutput, mtu: Int) -> Bool {
        let total = length + payload.byteCount, packet = total - EthernetHeader.length
        if packet <= mtu {
            output.append(length: total, offload) { emit(payload, into: &$0, isWhole: false, mayFragment: false) }
            return true
        }
        let longest = key.isIPv6 ? IPv6Header.length + IPv6Header.maximumPayload : IPv4Header.maximumPacket
        guard packet <= longest else { return false }
        var whole = [UInt8](repeating: 0, count: total),
            piece = [UInt8](repeating: 0, count: EthernetHeader.length + mtu)
        whole.withMutableRawSpan { emit(payload, into: &$0, isWhole: true, mayFragment: true) }
        if key.isIPv6 {
            guard
                var fragmenter = IPv6Fragmenter(whole.rawSpan, limit: piece.count, identification: Random.value())
            else { return false }
            while let length = piece.withMutableRawSpan({ fragmenter.next(whole.rawSpan, into: &$0) }) {
                output.append(length: length) { $0.put(piece.rawSpan.extracting(0..<length), at: 0) }
            }
        } else {
            guard var fragmenter = Fragmenter(whole.rawSpan, limit: piece.count) else { return false }
            while let length = piece.withMutableRawSpan({ fragmenter.next(whole.rawSpan, into: &$0) }) {
                output.append(length: length) { $0.put(piece.rawSpan.extracting(0..<length), at: 0) }
            }
        }
        return true
    }

    private var offload: VirtioNetHeader {
        var offload = VirtioNetHeader()
        guard isUDP else { return offload }
        offload.flags = .needsChecksum
        offload.checksumStart = UInt16(transport)
        offload.checksumOffset = UInt16(UDPHeader.Field.checksum)
        return offload
    }

    /// Writes the frame.
    /// - Parameter isWhole: with the whole UDP checksum, not the part of the pseudo-header.
    @_lifetime(frame: copy frame)
    private func emit(_ payload: RawSpan, into frame: inout MutableRawSpan, isWhole: Bool, mayFragment: Bool) {
        let network = EthernetHeader.length, length = frame.byteCount - transport
        EthernetHeader(
            destination: hardware, source: gatewayHardware, type: key.isIPv6 ? EtherType.ipv6 : EtherType.ipv4
        ).emit(into: &frame)
        var sum: InternetChecksum
        if key.isIPv6 {
            var header = IPv6Header(
                source: key.remote, destination: key.guest, nextHeader: key.protocolNumber, hopLimit: hops)
            header.trafficClass = trafficClass
            header.emit(into: &frame, at: network, payloadLength: length)
            sum = header.pseudoHeader(length: length)
        } else {
            let source = key.remoteIPv4, destination = key.guestIPv4
            var header = IPv4Header(source: source, destination: destination, protocolNumber: key.protocolNumber)
            header.timeToLive = hops
            header.typeOfService = trafficClass
            if mayFragment {
                header.dontFragment = false
                header.identification = Random.value()
            }
            header.emit(into: &frame, at: network, payloadLength: length)
            sum = InternetChecksum.pseudoHeader(
                source: source, destination: destination, protocolNumber: key.protocolNumber, length: length)
        }
        frame.put(payload, at: self.length)
        guard isUDP else { return }
        frame.put16(key.remotePort, at: transport + UDPHeader.Field.sourcePort)
        frame.put16(key.guestPort, at: transport + UDPHeader.Field.destinationPort)
        frame.put16(UInt16(length), at: transport + UDPHeader.Field.length)
        frame.put16(isWhole ? 0 : sum.folded, at: transport + UDPHeader.Field.checksum)
        guard isWhole else { return }
        sum.add(frame.bytes.from(transport))
        frame.put16(sum.finishedForUDP, at: transport + UDPHeader.Field.checksum)
    }
}
