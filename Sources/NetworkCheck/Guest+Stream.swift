// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

// A minimal TCP client (RFC 9293): it sends with the peer's window, without its scaling, and starts over from the last
// acknowledgment when an acknowledgment is overdue. Enough for a query, and to measure a network that loses little.

/// A TCP connection of the minimal guest.
package final class GuestStream {
    /// The other side.
    package enum Peer: Equatable {
        case ipv4(IPv4Address)
        /// From this address of the guest, by way of the router or on the link.
        case ipv6(IPv6Address, from: IPv6Address, by: MACAddress)
    }

    /// What a segment of the peer means for this connection.
    private enum Event {
        case acknowledged
        case data([UInt8])
        case finished
        case reset
    }

    private static let retransmissionTimeout = TimeAmount.milliseconds(500)
    private static let attempts = 4

    private let guest: Guest
    private let peer: Peer
    private let port: UInt16
    private let own = UInt16.random(in: 49_152...65_535)
    /// The first byte that the peer has not acknowledged.
    private var unacknowledged: UInt32 = Random.value()
    /// The next byte to send.
    private var next: UInt32 = 0
    /// The next byte that the peer sends.
    private var expected: UInt32 = 0
    /// The peer's window in bytes.
    private var window = 0
    private var segmentLimit = 536

    /// - Parameter port: of the peer.
    package init(_ guest: Guest, to peer: Peer, port: UInt16) {
        self.guest = guest
        self.peer = peer
        self.port = port
    }

    private var headerLength: Int {
        switch peer {
        case .ipv4: IPv4Header.length + TCPHeader.length
        case .ipv6: IPv6Header.length + TCPHeader.length
        }
    }

    private func frame(_ flags: TCPFlags, at sequence: UInt32, _ payload: [UInt8] = []) -> [UInt8]? {
        var segment = TCPSegment(sourcePort: own, destinationPort: port, sequence: sequence, flags: flags)
        segment.acknowledgment = flags.contains(.ack) ? expected : 0
        let length = TCPHeader.length + payload.count
        let sum: InternetChecksum =
            switch peer {
            case .ipv4(let target):
                InternetChecksum.pseudoHeader(
                    source: guest.address, destination: target, protocolNumber: IPProtocol.tcp, length: length)
            case .ipv6(let target, let source, _):
                IPv6Header(source: source, destination: target, nextHeader: IPProtocol.tcp).pseudoHeader(length: length)
            }
        var writer = ByteWriter(capacity: TCPHeader.length + payload.count)
        segment.emit(into: &writer, sum)
        writer.put(payload)
        writer.patch16(0, at: TCPHeader.Field.checksum)
        writer.patch16(writer.checksum(from: 0, adding: sum).finished, at: TCPHeader.Field.checksum)
        switch peer {
        case .ipv4(let target): return guest.packet(to: target, protocolNumber: IPProtocol.tcp, writer.bytes)
        case .ipv6(let target, let source, let hop):
            let header = IPv6Header(source: source, destination: target, nextHeader: IPProtocol.tcp)
            return guest.packet6(header, writer.bytes, to: hop)
        }
    }

    /// What a frame is to this connection, if it is about it.
    /// - Parameters:
    ///   - report: handles a report that a segment was not delivered.
    ///   - segment: handles a segment of the peer.
    private func read<Value>(
        _ frame: RawSpan, report: (Guest.UnreachableReport) -> Value? = { _ in nil },
        segment: (borrowing TCPView) throws -> Value?
    ) throws -> Value? {
        let ethernet = try EthernetView(frame)
        switch peer {
        case .ipv4(let target):
            guard ethernet.type == EtherType.ipv4 else { return nil }
            let ip = try IPv4View(ethernet.payload)
            if let found = Guest.report(ip, to: target, IPProtocol.tcp, ports: (own, port)) { return report(found) }
            guard ip.protocolNumber == IPProtocol.tcp, ip.source == target else { return nil }
            return try pass(TCPView(ip.payload), to: segment)
        case .ipv6(let target, let source, _):
            guard ethernet.type == EtherType.ipv6 else { return nil }
            let ip = try IPv6View(ethernet.payload)
            if try guest.handleSolicitation(ethernet, ip, ip.payload, own: source) { return nil }
            if let found = try Guest.report(ip, ip.payload, to: target, IPProtocol.tcp, ports: (own, port)) {
                return report(found)
            }
            guard ip.nextHeader == IPProtocol.tcp, ip.source == target else { return nil }
            return try pass(TCPView(ip.payload), to: segment)
        }
    }

    private func pass<Value>(
        _ segment: borrowing TCPView, to body: (borrowing TCPView) throws -> Value?
    ) rethrows -> Value? {
        segment.sourcePort == port && segment.destinationPort == own ? try body(segment) : nil
    }

    private func send(_ flags: TCPFlags, at sequence: UInt32, _ payload: [UInt8] = []) {
        if let frame = frame(flags, at: sequence, payload) { guest.link.send(frame) }
    }

    /// Opens the connection.
    package func open() -> Guest.ConnectAnswer {
        let start = unacknowledged
        guard let opening = frame(.syn, at: start) else { return .timedOut }
        next = start &+ 1
        return guest.exchange(opening, attempts: 3, timeout: .seconds(1)) { frame -> Guest.ConnectAnswer? in
            try self.read(frame, report: { .unreachable($0) }) { reply in
                guard reply.flags.contains(.ack), reply.acknowledgment == self.next else { return nil }
                guard reply.flags.contains(.syn) else { return .refused }
                self.expected = reply.sequence &+ 1
                self.unacknowledged = self.next
                self.window = Int(reply.window)
                if let limit = TCPOptions(reply).maximumSegment { self.segmentLimit = max(64, Int(limit)) }
                return .accepted
            }
        } ?? .timedOut
    }

    /// Ends the connection with a reset.
    package func close() { send([.rst, .ack], at: next) }

    /// The next segment of the peer.
    private func receive(until deadline: Instant) -> Event? {
        guest.wait(until: deadline) { frame in try self.read(frame, segment: self.handle) }
    }

    private func handle(_ segment: borrowing TCPView) -> Event? {
        if segment.flags.contains(.rst) { return .reset }
        guard segment.flags.contains(.ack) else { return nil }
        window = Int(segment.window)
        // What was sent and is acknowledged now; neither old nor invented.
        let step = segment.acknowledgment &- unacknowledged
        if step <= next &- unacknowledged { unacknowledged = segment.acknowledgment }
        guard segment.sequence == expected else { return .acknowledged }
        let payload = segment.payload, length = payload.byteCount
        expected &+= UInt32(length)
        if length > 0 { return .data((0..<length).map { index in payload.byte(at: index) }) }
        return segment.flags.contains(.fin) ? .finished : .acknowledged
    }

    /// Sends a request that fits a segment, and collects the answer until `isComplete`.
    /// - Returns: nil if the peer ends the connection, or does not answer in time.
    package func request(_ bytes: [UInt8], isComplete: ([UInt8]) -> Bool) -> [UInt8]? {
        let start = next
        next = start &+ UInt32(bytes.count)
        var answer: [UInt8] = []
        for _ in 0..<GuestStream.attempts {
            if unacknowledged == start { send([.psh, .ack], at: start, bytes) }
            let deadline = BootClock.now + .seconds(2)
            while let event = receive(until: deadline) {
                switch event {
                case .data(let more):
                    answer += more
                    send(.ack, at: next)
                    if isComplete(answer) { return answer }
                    guard answer.count <= DNSMessage.maximumLength + DNSMessage.lengthPrefix else { return nil }
                case .finished, .reset: return nil
                case .acknowledged: break
                }
            }
        }
        return nil
    }

    /// Sends zeros for `duration`.
    /// - Parameter mtu: of the guest's network, in bytes.
    /// - Returns: the bytes that the peer has acknowledged, and the time; nil if it ended the connection.
    package func flood(for duration: TimeAmount, mtu: Int) -> (bytes: Int, time: TimeAmount)? {
        let payload = [UInt8](
            repeating: 0, count: min(segmentLimit, max(64, mtu - headerLength)))
        let start = BootClock.now, end = start + duration
        var acknowledged = 0
        var overdue = start + GuestStream.retransmissionTimeout
        while BootClock.now < end {
            while Int(next &- unacknowledged) + payload.count <= window {
                send(.ack, at: next, payload)
                next &+= UInt32(payload.count)
            }
            let before = unacknowledged
            switch receive(until: min(end, overdue)) {
            case .reset?, .finished?: return nil
            case .data?: send(.ack, at: next)
            case .acknowledged?: break
            case nil:
                // Everything from the last acknowledgment on is sent again; one byte probes a closed window.
                next = unacknowledged
                if window == 0 { send(.ack, at: unacknowledged &- 1, [0]) }
                overdue = BootClock.now + GuestStream.retransmissionTimeout
            }
            if unacknowledged != before {
                acknowledged += Int(unacknowledged &- before)
                overdue = BootClock.now + GuestStream.retransmissionTimeout
            }
        }
        return (acknowledged, BootClock.now - start)
    }
}
