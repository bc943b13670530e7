// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// A UDP datagram as a guest receives it, put together from its fragments.
struct ReceivedDatagram {
    let source: IPAddress
    let sourcePort: UInt16
    let port: UInt16
    let hops: UInt8
    let trafficClass: UInt8
    let payload: [UInt8]

    /// Parses an IP packet; nil if it is no datagram with a valid checksum.
    init?(_ packet: RawSpan) {
        if let packet = try? IPv4View(packet) {
            guard packet.hasValidChecksum, packet.protocolNumber == IPProtocol.udp,
                let datagram = try? UDPView(packet.payload), datagram.checksum != 0,
                datagram.hasValidChecksum(source: packet.source, destination: packet.destination)
            else { return nil }
            source = .ipv4(packet.source)
            hops = packet.timeToLive
            trafficClass = packet.typeOfService
            sourcePort = datagram.sourcePort
            port = datagram.destinationPort
            payload = datagram.payload.copied()
            return
        }
        guard let packet = try? IPv6View(packet), packet.nextHeader == IPProtocol.udp,
            let datagram = try? UDPView(packet.payload), datagram.hasValidChecksum(packet.pseudoHeader)
        else { return nil }
        source = .ipv6(packet.source)
        hops = packet.hopLimit
        trafficClass = packet.trafficClass
        sourcePort = datagram.sourcePort
        port = datagram.destinationPort
        payload = datagram.payload.copied()
    }
}

/// A relay of datagrams with its gateway, a clock that a test can move, and real sockets on the host's loopback at the
/// other ends.
final class DatagramHarness {
    let recorder = FrameRecorder()
    let output: GuestOutput
    var gateway: NATGateway
    let relay: DatagramRelay
    /// Packets for guests that are no datagrams.
    var others: [[UInt8]] = []
    /// Added to the clock.
    var clockOffset = TimeAmount.zero
    /// The policy's judgement of datagrams from outside, beside the gateway.
    var refusesAnswers = false
    private var reassembler = Reassembler()
    private var received: [ReceivedDatagram] = []

    init(_ change: (inout NATGateway.Options) -> Void = { _ in }) throws {
        gateway = Fixture.gateway {
            $0.policy.opensHostLoopback = true
            change(&$0)
        }
        gateway.lease(Fixture.guest, to: Fixture.mac, until: .distantFuture, now: .distantPast)
        output = GuestOutput(to: recorder, mtu: gateway.options.mtu)
        relay = try DatagramRelay(gateway.options, to: output)
        relay.beginPoll(now: now)
    }

    var now: Instant { BootClock.now + clockOffset }

    /// Hands over a frame of a guest.
    @discardableResult
    func send(_ frame: [UInt8]) -> NATGateway.Verdict {
        relay.beginPoll(now: now)
        let verdict = gateway.fromGuest(frame.rawSpan, now: now) { key, _, _ in relay.hasClient(key) }
        if case .datagram(let datagram) = verdict { relay.receive(frame.rawSpan, datagram) }
        if case .datagramReassembled(let datagram, let whole) = verdict { relay.receive(whole.rawSpan, datagram) }
        return verdict
    }

    /// Sends a datagram to the host's loopback, in fragments if it is long.
    func ask(
        _ port: UInt16, to server: UInt16, _ payload: [UInt8], hops: UInt8 = 64, trafficClass: UInt8 = 0,
        from guest: (IPv4Address, MACAddress) = (Fixture.guest, Fixture.mac)
    ) {
        var header = DatagramHeader(
            key: FlowKey(
                IPProtocol.udp, guest: .ipv4(Fixture.network.gateway), server, remote: .ipv4(guest.0), port),
            hardware: Fixture.router, gatewayHardware: guest.1)
        header.hops = hops
        header.trafficClass = trafficClass
        let frames = FrameRecorder(), output = GuestOutput(to: frames, mtu: 1500)
        header.append(payload.rawSpan, to: output, mtu: 1500)
        output.flush()
        while let frame = frames.takeComplete() { send(frame) }
    }

    func poll() {
        relay.beginPoll(now: now)
        relay.flush()
        relay.serve(gateway.neighbors) { !refusesAnswers && gateway.allowsDatagrams($0, now: now) }
        relay.finishPoll(gateway.neighbors)
        relay.drainEffects { gateway.apply($0, now: now) }
        output.flush()
        let packets = gateway.toGuests.map { Array($0[EthernetHeader.length...]) }
        gateway.toGuests.removeAll()
        others += packets
        while let frame = recorder.takeComplete() { take(Array(frame[EthernetHeader.length...])) }
    }

    private func take(_ packet: [UInt8]) {
        if let fragment = try? IPv4View(packet.rawSpan), fragment.isFragment {
            if case .complete(let whole) = reassembler.take(fragment, now: now) { take(whole) }
        } else if let fragment = try? IPv6View(packet.rawSpan), fragment.nextHeader == IPv6Extension.fragment {
            if case .complete(let whole) = reassembler.take(fragment, now: now) { take(whole) }
        } else if let datagram = ReceivedDatagram(packet.rawSpan) {
            received.append(datagram)
        } else {
            others.append(packet)
        }
    }

    /// Polls until a guest has received a datagram.
    func expectDatagram(_ what: String = "a datagram") throws -> ReceivedDatagram {
        try eventually(what) {
            poll()
            return !received.isEmpty
        }
        return received.removeFirst()
    }

    /// Polls until a guest has received an ICMP message.
    func expectMessage(_ what: String = "an ICMP message") throws -> [UInt8] {
        try eventually(what) {
            poll()
            return !others.isEmpty
        }
        return others.removeFirst()
    }

    /// Datagrams that no test has taken.
    var rest: Int { received.count }
}

/// A UDP socket on the host's loopback.
final class LoopbackServer {
    let socket: SocketBox
    let port: UInt16
    let address: SocketAddress
    /// The largest number of datagrams that the system has joined.
    private(set) var mostJoined = 0
    private var buffer: DatagramBuffer

    /// - Parameter joins: the system may join what is received.
    init(_ address: IPAddress = .ipv4(IPv4Address("127.0.0.1")!), joins: Bool = false) throws {
        buffer = try DatagramBuffer()
        while true {
            let socket = try Socket.udp(ipv6: address.isIPv6), port = UInt16.random(in: 20_000...60_000)
            guard (try? socket.bind(to: SocketAddress(address, port: port))) != nil else { continue }
            socket.reportDatagrams(ipv6: address.isIPv6)
            if joins { _ = socket.joinDatagrams() }
            self.address = SocketAddress(address, port: port)
            self.socket = SocketBox(socket)
            self.port = port
            return
        }
    }

    /// A datagram, and what its IP header had.
    typealias Received = (payload: [UInt8], from: SocketAddress, hops: UInt8, trafficClass: UInt8)

    private var received: [Received] = []

    /// Waits for a datagram.
    func receive() throws -> Received {
        if received.isEmpty {
            _ = socket.socket.wait(for: .readable, until: BootClock.now + .seconds(Int64(ampleTime)))
            for index in 0..<max(0, buffer.receive(from: socket.socket.raw)) {
                let joined = buffer.joinedCount(index)
                mostJoined = max(mostJoined, joined)
                for place in 0..<joined {
                    received.append(
                        (
                            buffer.payload(index, place).copied(), buffer.peer(index), buffer.hops(index),
                            buffer.trafficClass(index)
                        ))
                }
            }
        }
        guard !received.isEmpty else { throw RelayHarness.TimedOut(what: "a datagram") }
        return received.removeFirst()
    }

    func send(_ payload: [UInt8], to peer: SocketAddress) throws { try socket.socket.send(payload, to: peer) }
}
