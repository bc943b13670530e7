// SPDX-License-Identifier: Apache-2.0
import Wire

/// The header of a segment for a guest, and how to write the frame round it.
struct TCPSegmentHeader {
    enum Options {
        case none
        /// Options of a SYN: MSS, window scale (RFC 7323 section 2; nil to leave it out) and SACK-permitted (RFC 2018
        /// section 2).
        case syn(maximumSegment: UInt16, windowScale: UInt8?, sackPermitted: Bool)
        /// SACK blocks, at most three.
        case sack([(start: UInt32, end: UInt32)])

        var length: Int {
            switch self {
            case .none: 0
            case .syn(_, let scale, let sackPermitted): 4 + (scale == nil ? 0 : 4) + (sackPermitted ? 4 : 0)
            case .sack(let blocks): 4 + 8 * blocks.count
            }
        }
    }

    var flags: TCPFlags
    var sequence: UInt32
    var acknowledgment: UInt32 = 0
    var window: UInt16 = 0
    var options = Options.none
    var payloadLength = 0
    /// Bytes of payload in a segment. A longer payload makes this a GSO frame.
    var segmentSize = 0

    init(_ flags: TCPFlags, sequence: UInt32) {
        self.flags = flags
        self.sequence = sequence
    }

    /// Bytes of all headers.
    func headerLength(_ endpoints: TCPEndpoints) -> Int { 14 + endpoints.ipHeaderLength + 20 + options.length }

    /// Appends the frame to the guests' output. Its TCP checksum stays partial (`needsChecksum`), the port that needs
    /// it completes it.
    /// - Parameter payload: writes `payloadLength` bytes at the offset it is given.
    /// - Returns: false if the guest's hardware address is not known.
    func append(
        to output: GuestOutput, _ endpoints: TCPEndpoints, payload: (inout MutableRawSpan, Int) -> Void = { _, _ in }
    ) -> Bool {
        guard let hardware = endpoints.guestHardware else { return false }
        let start = headerLength(endpoints)
        output.append(length: start + payloadLength, offload(endpoints)) { frame in
            let network = 14, transport = network + endpoints.ipHeaderLength
            frame.put(endpoints.gatewayHardware, hardware, at: 0)
            frame.put16(endpoints.isIPv6 ? EtherType.ipv6 : EtherType.ipv4, at: network - 2)
            let length = frame.byteCount - transport
            var sum: InternetChecksum
            if endpoints.isIPv6 {
                frame.put32(6 << 28, at: network)
                frame.put16(UInt16(length), at: network + 4)
                frame.put8(IPProtocol.tcp, at: network + 6)
                frame.put8(64, at: network + 7)
                frame.put64(endpoints.key.remote.high, at: network + 8)
                frame.put64(endpoints.key.remote.low, at: network + 16)
                frame.put64(endpoints.key.guest.high, at: network + 24)
                frame.put64(endpoints.key.guest.low, at: network + 32)
                sum = InternetChecksum.pseudoHeader(
                    addresses: frame.bytes.extracting(network + 8..<network + 40), protocolNumber: IPProtocol.tcp,
                    length: length)
            } else {
                let source = IPv4Address(UInt32(truncatingIfNeeded: endpoints.key.remote.low)),
                    destination = IPv4Address(UInt32(truncatingIfNeeded: endpoints.key.guest.low))
                frame.put32(0x4500_0000 | UInt32(length + IPv4Header.length), at: network)
                frame.put32(0x4000, at: network + 4)
                frame.put32(0x4006_0000, at: network + 8)
                frame.put32(source.value, at: network + 12)
                frame.put32(destination.value, at: network + 16)
                var header = InternetChecksum()
                header.add(frame.bytes.extracting(network..<network + IPv4Header.length))
                frame.put16(header.finished, at: network + 10)
                sum = InternetChecksum.pseudoHeader(
                    source: source, destination: destination, protocolNumber: IPProtocol.tcp, length: length)
            }
            frame.put16(endpoints.key.remotePort, at: transport)
            frame.put16(endpoints.key.guestPort, at: transport + 2)
            frame.put32(sequence, at: transport + 4)
            frame.put32(acknowledgment, at: transport + 8)
            frame.put8(UInt8((20 + options.length) / 4) << 4, at: transport + 12)
            frame.put8(flags.rawValue, at: transport + 13)
            frame.put16(window, at: transport + 14)
            frame.put16(sum.folded, at: transport + 16)
            frame.put16(0, at: transport + 18)
            emitOptions(into: &frame, at: transport + 20)
            if payloadLength > 0 { payload(&frame, start) }
        }
        return true
    }

    private func offload(_ endpoints: TCPEndpoints) -> VirtioNetHeader {
        var offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.checksumStart = UInt16(14 + endpoints.ipHeaderLength)
        offload.checksumOffset = UInt16(TCPHeader.Field.checksum)
        if payloadLength > segmentSize {
            offload.segmentation = endpoints.isIPv6 ? .tcp6 : .tcp4
            offload.segmentSize = UInt16(segmentSize)
            offload.headerLength = UInt16(headerLength(endpoints))
        }
        return offload
    }

    @_lifetime(frame: copy frame)
    private func emitOptions(into frame: inout MutableRawSpan, at start: Int) {
        switch options {
        case .none:
            break
        case .syn(let maximumSegment, let windowScale, let sackPermitted):
            frame.put32(0x0204_0000 | UInt32(maximumSegment), at: start)
            var next = start + 4
            if let windowScale {
                frame.put32(0x0103_0300 | UInt32(windowScale), at: next)
                next += 4
            }
            if sackPermitted { frame.put32(0x0101_0402, at: next) }
        case .sack(let blocks):
            frame.put32(0x0101_0500 | UInt32(2 + 8 * blocks.count), at: start)
            var next = start + 4
            for block in blocks {
                frame.put32(block.start, at: next)
                frame.put32(block.end, at: next + 4)
                next += 8
            }
        }
    }
}

extension MutableRawSpan {
    /// Writes the two hardware addresses of a frame that begins at `start`.
    @_lifetime(self: copy self)
    mutating func put(_ source: MACAddress, _ destination: MACAddress, at start: Int = 0) {
        put32(UInt32(truncatingIfNeeded: destination.value >> 16), at: start)
        put16(UInt16(truncatingIfNeeded: destination.value), at: start + 4)
        put32(UInt32(truncatingIfNeeded: source.value >> 16), at: start + 6)
        put16(UInt16(truncatingIfNeeded: source.value), at: start + 10)
    }
}
