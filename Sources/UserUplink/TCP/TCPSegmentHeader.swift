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
            case .syn(_, let scale, let sackPermitted):
                TCPOptions.Word.length * (1 + (scale == nil ? 0 : 1) + (sackPermitted ? 1 : 0))
            case .sack(let blocks): TCPOptions.Word.length + TCPOptions.blockLength * blocks.count
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
    func headerLength(_ endpoints: TCPEndpoints) -> Int { transport(endpoints) + tcpLength }

    /// Where the TCP header begins in the frame.
    private func transport(_ endpoints: TCPEndpoints) -> Int { EthernetHeader.length + endpoints.ipHeaderLength }

    /// Bytes of the TCP header with its options.
    private var tcpLength: Int { TCPHeader.length + options.length }

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
            let network = EthernetHeader.length, transport = transport(endpoints)
            EthernetHeader(
                destination: hardware, source: endpoints.gatewayHardware,
                type: endpoints.isIPv6 ? EtherType.ipv6 : EtherType.ipv4
            ).emit(into: &frame)
            let length = frame.byteCount - transport, key = endpoints.key
            let sum: InternetChecksum
            if endpoints.isIPv6 {
                let header = IPv6Header(source: key.remote, destination: key.guest, nextHeader: IPProtocol.tcp)
                header.emit(into: &frame, at: network, payloadLength: length)
                sum = header.pseudoHeader(length: length)
            } else {
                let source = key.remoteIPv4, destination = key.guestIPv4
                IPv4Header(source: source, destination: destination, protocolNumber: IPProtocol.tcp)
                    .emit(into: &frame, at: network, payloadLength: length)
                sum = InternetChecksum.pseudoHeader(
                    source: source, destination: destination, protocolNumber: IPProtocol.tcp, length: length)
            }
            emitTCP(into: &frame, at: transport, key, checksum: sum.folded)
            if payloadLength > 0 { payload(&frame, start) }
        }
        return true
    }

    /// Writes the TCP header with its options at `start`.
    @_lifetime(frame: copy frame)
    private func emitTCP(into frame: inout MutableRawSpan, at start: Int, _ key: FlowKey, checksum: UInt16) {
        frame.put16(key.remotePort, at: start + TCPHeader.Field.sourcePort)
        frame.put16(key.guestPort, at: start + TCPHeader.Field.destinationPort)
        frame.put32(sequence, at: start + TCPHeader.Field.sequence)
        frame.put32(acknowledgment, at: start + TCPHeader.Field.acknowledgment)
        frame.put8(TCPHeader.dataOffset(headerLength: tcpLength), at: start + TCPHeader.Field.dataOffset)
        frame.put8(flags.rawValue, at: start + TCPHeader.Field.flags)
        frame.put16(window, at: start + TCPHeader.Field.window)
        frame.put16(checksum, at: start + TCPHeader.Field.checksum)
        frame.put16(0, at: start + TCPHeader.Field.urgentPointer)
        emitOptions(into: &frame, at: start + TCPHeader.length)
    }

    private func offload(_ endpoints: TCPEndpoints) -> VirtioNetHeader {
        var offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.checksumStart = UInt16(transport(endpoints))
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
            frame.put32(TCPOptions.Word.maximumSegment(maximumSegment), at: start)
            var next = start + TCPOptions.Word.length
            if let windowScale {
                frame.put32(TCPOptions.Word.windowScale(windowScale), at: next)
                next += TCPOptions.Word.length
            }
            if sackPermitted { frame.put32(TCPOptions.Word.selectivePermitted, at: next) }
        case .sack(let blocks):
            frame.put32(TCPOptions.Word.selective(blocks: blocks.count), at: start)
            var next = start + TCPOptions.Word.length
            for block in blocks {
                frame.put32(block.start, at: next)
                frame.put32(block.end, at: next + TCPOptions.blockEnd)
                next += TCPOptions.blockLength
            }
        }
    }
}
