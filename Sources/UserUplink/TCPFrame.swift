// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// The two ends of a connection as frames to the guest name them.
struct TCPEnds: Sendable {
    let key: FlowKey
    /// The gateway's hardware address, in whose name the outside speaks.
    let router: MACAddress
    /// The guest's; nil while it is not known.
    var hardware: MACAddress?

    var isIPv6: Bool { key.isIPv6 }
    /// Bytes of the IP header.
    var networkLength: Int { isIPv6 ? IPv6View.headerLength : IPv4Header.length }
}

/// A TCP header for a guest.
struct TCPFrame {
    enum Options {
        case none
        /// Of a SYN: the longest segment that we take; by how many bits we shift windows, and whether we understand
        /// selective acknowledgments, where the guest does as well.
        case beginning(maximumSegment: UInt16, windowScale: UInt8?, isSelective: Bool)
        /// What has come too early, at most three parts.
        case selective([(start: UInt32, end: UInt32)])

        var length: Int {
            switch self {
            case .none: 0
            case .beginning(_, let scale, let isSelective): 4 + (scale == nil ? 0 : 4) + (isSelective ? 4 : 0)
            case .selective(let parts): 4 + 8 * parts.count
            }
        }
    }

    var flags: TCPFlags
    var sequence: UInt32
    var acknowledgment: UInt32 = 0
    var window: UInt16 = 0
    var options = Options.none
    var payloadLength = 0
    /// Bytes of payload in a segment: where there are more, this is a super-frame of several.
    var segmentSize = 0

    init(_ flags: TCPFlags, sequence: UInt32) {
        self.flags = flags
        self.sequence = sequence
    }

    /// Bytes of all headers.
    func headerLength(_ ends: TCPEnds) -> Int { 14 + ends.networkLength + 20 + options.length }

    /// Appends the frame to what guests get; its checksum is left to whoever needs one. Returns false if the guest's
    /// address is not known.
    /// - Parameter payload: writes `payloadLength` bytes at the offset it is given.
    func append(
        to output: GuestOutput, _ ends: TCPEnds, payload: (inout MutableRawSpan, Int) -> Void = { _, _ in }
    ) -> Bool {
        guard let hardware = ends.hardware else { return false }
        let start = headerLength(ends)
        output.append(length: start + payloadLength, offload(ends)) { frame in
            let network = 14, transport = network + ends.networkLength
            frame.put(ends.router, hardware, at: 0)
            frame.put16(ends.isIPv6 ? EtherType.ipv6 : EtherType.ipv4, at: network - 2)
            let length = frame.byteCount - transport
            var sum: InternetChecksum
            if ends.isIPv6 {
                frame.put32(6 << 28, at: network)
                frame.put16(UInt16(length), at: network + 4)
                frame.put8(IPProtocol.tcp, at: network + 6)
                frame.put8(64, at: network + 7)
                frame.put64(ends.key.remote.high, at: network + 8)
                frame.put64(ends.key.remote.low, at: network + 16)
                frame.put64(ends.key.guest.high, at: network + 24)
                frame.put64(ends.key.guest.low, at: network + 32)
                sum = InternetChecksum.pseudoHeader(
                    addresses: frame.bytes.extracting(network + 8..<network + 40), protocolNumber: IPProtocol.tcp,
                    length: length)
            } else {
                let source = IPv4Address(UInt32(truncatingIfNeeded: ends.key.remote.low)),
                    destination = IPv4Address(UInt32(truncatingIfNeeded: ends.key.guest.low))
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
            frame.put16(ends.key.remotePort, at: transport)
            frame.put16(ends.key.guestPort, at: transport + 2)
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

    private func offload(_ ends: TCPEnds) -> VirtioNetHeader {
        var offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.checksumStart = UInt16(14 + ends.networkLength)
        offload.checksumOffset = 16
        if payloadLength > segmentSize {
            offload.segmentation = ends.isIPv6 ? .tcp6 : .tcp4
            offload.segmentSize = UInt16(segmentSize)
            offload.headerLength = UInt16(headerLength(ends))
        }
        return offload
    }

    @_lifetime(frame: copy frame)
    private func emitOptions(into frame: inout MutableRawSpan, at place: Int) {
        switch options {
        case .none:
            break
        case .beginning(let maximumSegment, let windowScale, let isSelective):
            frame.put32(0x0204_0000 | UInt32(maximumSegment), at: place)
            var next = place + 4
            if let windowScale {
                frame.put32(0x0103_0300 | UInt32(windowScale), at: next)
                next += 4
            }
            if isSelective { frame.put32(0x0101_0402, at: next) }
        case .selective(let parts):
            frame.put32(0x0101_0500 | UInt32(2 + 8 * parts.count), at: place)
            var next = place + 4
            for part in parts {
                frame.put32(part.start, at: next)
                frame.put32(part.end, at: next + 4)
                next += 8
            }
        }
    }
}
