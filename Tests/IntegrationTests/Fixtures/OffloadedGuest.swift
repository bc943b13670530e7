// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire

/// A guest's TCP over a socket without virtio headers, as libkrun passes it on: every checksum is left unfinished, and
/// frames have up to 64 KiB in both directions.
final class OffloadedGuest {
    /// Bytes of payload in a frame, of IPv4 without options.
    private static let longestPayload = 60_000

    private let client: any FrameClient
    private var own: Endpoint
    private var peer: Endpoint
    private var sequence: UInt32 = 1000
    private var acknowledged: UInt32 = 0
    private var isFinished = false
    /// What the peer has sent.
    private(set) var data: [UInt8] = []
    /// The lengths of the frames with data.
    private(set) var lengths: [Int] = []
    /// Frames with a wrong checksum.
    private(set) var damaged = 0

    init(_ client: any FrameClient, number: Int, to gateway: IPv4Address) throws {
        self.client = client
        own = Endpoint(Frames.mac(number), IPv4Address("192.168.105.\(number)")!)
        peer = Endpoint(.broadcast, gateway)
        let request = Frames.arpRequest(from: own, for: gateway)
        try client.send(request)
        var found: MACAddress?
        try eventually("the gateway's address", within: ampleTime) {
            for frame in client.received() where frame.count >= 42 && frame[12] == 8 && frame[13] == 6 {
                if Array(frame[28..<32]) == gateway.bytes { found = MACAddress(frame.rawSpan, at: 6) }
            }
            return found != nil
        }
        peer.hardware = try #require(found)
    }

    /// Opens a connection to a port of the gateway.
    func connect(from ownPort: UInt16, to port: UInt16) throws {
        (own.port, peer.port) = (ownPort, port)
        try send([.syn])
        sequence += 1
        try eventually("SYN, ACK", within: ampleTime) {
            self.receive()
            return acknowledged != 0
        }
    }

    /// Sends `bytes` in GSO frames, and closes this direction.
    func send(_ bytes: [UInt8]) throws {
        var position = 0
        while position < bytes.count {
            let part = Array(bytes[position..<min(position + OffloadedGuest.longestPayload, bytes.count)])
            let next = sequence &+ UInt32(part.count)
            var timeout = Instant.distantPast
            try eventually("an acknowledgement", within: ampleTime) {
                if BootClock.now >= timeout {
                    // Again, as a receiver on a busy host may have had no room.
                    try self.send([.ack, .psh], part)
                    timeout = BootClock.now + .seconds(1)
                }
                self.receive()
                return confirmed == next
            }
            sequence = next
            position += part.count
        }
        try send([.ack, .fin])
        sequence += 1
    }

    /// Receives until the peer has closed its direction.
    func receiveAll() throws {
        try eventually("the end of the data", within: ampleTime) {
            self.receive()
            return isFinished
        }
    }

    /// The acknowledgement number that has come last.
    private var confirmed: UInt32 = 0

    private func send(_ flags: TCPFlags, _ payload: [UInt8] = []) throws {
        var frame = Frames.tcp(
            flags, from: own, to: peer, sequence: sequence, acknowledgment: acknowledged, payload)
        // The sum of the pseudo-header, as a driver leaves it.
        let sum = InternetChecksum.pseudoHeader(
            source: own.address, destination: peer.address, protocolNumber: IPProtocol.tcp, length: frame.count - 34
        ).folded
        (frame[50], frame[51]) = (UInt8(sum >> 8), UInt8(sum & 255))
        try client.send(frame)
    }

    private func receive() {
        for frame in client.received() {
            guard frame.count >= 54, frame[12] == 8, frame[13] == 0, frame[23] == IPProtocol.tcp,
                Array(frame[30..<34]) == own.address.bytes
            else { continue }
            let end = 14 + Int(frame[16]) << 8 + Int(frame[17])
            let segment = Array(frame[34..<end])
            var sum = InternetChecksum.pseudoHeader(
                source: peer.address, destination: own.address, protocolNumber: IPProtocol.tcp, length: segment.count)
            sum.add(segment.rawSpan)
            guard sum.isValid else {
                damaged += 1
                continue
            }
            func word(_ offset: Int) -> UInt32 { segment[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) } }
            let flags = TCPFlags(rawValue: segment[13]), payload = segment[(Int(segment[12] >> 4) * 4)...]
            confirmed = word(8)
            if flags.contains(.syn) {
                acknowledged = word(4) &+ 1
            } else if word(4) == acknowledged {
                data += payload
                if !payload.isEmpty { lengths.append(frame.count) }
                acknowledged &+= UInt32(payload.count)
                if flags.contains(.fin) {
                    acknowledged &+= 1
                    isFinished = true
                }
            } else {
                continue
            }
            if flags.contains(.syn) || flags.contains(.fin) || !payload.isEmpty { try? send([.ack]) }
        }
    }
}
