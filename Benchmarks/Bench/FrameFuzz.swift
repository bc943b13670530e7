// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import TestSupport
import Timing
import UserUplink
import Wire

/// `vde_vmnet_bench fuzz FRAMES [SEED]`: damaged frames of UDP, pings, fragments and TCP for the user-mode NAT, of IPv4
/// and IPv6, while peers answer what gets through. The peers are sockets on the loopback addresses of the network
/// namespace that the program runs in, which has to be its own. Fails if the NAT stops to answer, or if descriptors or
/// memory grow.
final class FrameFuzz {
    /// Takes the frames for guests: nothing is done with them.
    private final class Sink: FrameInjector {
        private let mutex = Lock()
        let frames = Mutex(0)
        /// Frames of ARP.
        let answers = Mutex(0)

        func lockShared() { mutex.lock() }
        func unlock() { mutex.unlock() }
        var isAttached: Bool { true }

        func inject(_ batch: inout FrameBatch) {
            frames.withLock { $0 += batch.count }
            for index in 0..<batch.count {
                let bytes = batch.bytes(of: batch[index])
                guard bytes.byteCount > 14, bytes.byte(at: 12) == 8, bytes.byte(at: 13) == 6 else { continue }
                answers.withLock { $0 += 1 }
            }
        }

        func origin(of hardware: MACAddress) -> FrameOrigin? { nil }
    }

    private static let network = GuestNetwork(gateway: IPv4Address("192.168.105.1")!, prefixLength: 24)
    private static let router = MACAddress("02:00:00:00:00:01")!
    private static let prefix: UInt64 = 0xfd00_0001_0002_0003
    private static let loopback = IPv4Address("127.0.0.1")!
    /// Ports of the peers, and of a published port.
    private static let ports: [UInt16] = Array(9000..<9016), published: UInt16 = 9100
    /// Guests that send.
    private static let guests = 8
    /// Frames between two looks at the peers.
    private static let burst = 64

    private let sink = Sink()
    private let nat: UserNAT
    private var peers: [Peer] = []
    private var random: SeededGenerator
    private var identification: UInt16 = 0
    private var echoed = 0

    /// A socket that sends back what it receives; every fourth datagram many times, which the kernel joins.
    private final class Peer {
        let socket: Descriptor
        private var queue = DatagramQueue()
        private var longestSegment: UInt32
        private var answers = 0

        init(_ port: UInt16, ipv6: Bool) throws(SystemError) {
            socket = try Socket.udp(ipv6: ipv6)
            longestSegment = socket.joinDatagrams()
            try socket.bind(
                to: ipv6
                    ? SocketAddress(IPv6Address.loopback, port: port) : SocketAddress(FrameFuzz.loopback, port: port))
        }

        func answer() -> Int {
            var count = 0
            while count < 16, let (bytes, from) = try? socket.receiveFrom(limit: 65_536) {
                count += 1
                answers += 1
                if answers % 4 == 0 { sendMany(bytes, to: from) } else { try? socket.send(bytes, to: from) }
            }
            return count
        }

        private func sendMany(_ bytes: [UInt8], to peer: SocketAddress) {
            while queue.count < 20, queue.hasRoom(for: bytes.count) { queue.append(bytes.rawSpan, to: peer) }
            let last = Array(bytes.prefix(bytes.count / 2))
            if queue.hasRoom(for: last.count) { queue.append(last.rawSpan, to: peer) }
            _ = queue.send(by: socket.raw, from: 0, longestSegment: &longestSegment)
            queue.removeAll()
        }
    }

    private init(seed: UInt64) throws {
        random = SeededGenerator(seed: seed)
        var options = NATGateway.Options(network: FrameFuzz.network, hardware: FrameFuzz.router)
        options.prefix = FrameFuzz.prefix
        options.policy.opensHostLoopback = true
        options.flowLimit = 1024
        nat = try UserNAT(
            options, publishing: [PublishedPort(parsing: "\(FrameFuzz.published):192.168.105.2:7000/udp")], to: sink)
        for port in FrameFuzz.ports {
            peers.append(try Peer(port, ipv6: false))
            peers.append(try Peer(port, ipv6: true))
        }
    }

    // MARK: Frames

    private func number(_ range: Range<Int>) -> Int { Int.random(in: range, using: &random) }

    private func payload() -> [UInt8] {
        // Mostly short; the longest need fragments.
        let length = number(0..<64) == 0 ? number(0..<9000) : number(0..<200)
        return [UInt8](repeating: UInt8(truncatingIfNeeded: length), count: length)
    }

    /// The frames of one good packet: more than one if it is fragmented.
    private func packet() -> [[UInt8]] {
        let guest = Endpoint.guest(number(2..<2 + FrameFuzz.guests), port: UInt16(number(5000..<5400)))
        let outside = [FrameFuzz.network.gateway, FrameFuzz.network.gateway, IPv4Address("203.0.113.1")!][number(0..<3)]
        let server = Endpoint(FrameFuzz.router, outside, port: FrameFuzz.ports[number(0..<FrameFuzz.ports.count)])
        switch number(0..<8) {
        case 0: return [Frames.echo(from: guest, to: server, identifier: guest.port, payload())]
        case 1: return fragments(Frames.udp(from: guest, to: server, [UInt8](repeating: 7, count: number(0..<6000))))
        case 2:
            return fragments(
                Frames.echo(from: guest, to: server, identifier: guest.port, [UInt8](repeating: 7, count: 3000)))
        case 3, 4: return [datagram6(guest)]
        case 5:
            return [
                Frames.tcp(
                    [TCPFlags.syn, [.ack], [.ack, .psh], .rst][number(0..<4)], from: guest, to: server, payload())
            ]
        case 6: return Array(repeating: Frames.udp(from: guest, to: server, payload()), count: number(1..<40))
        default: return [Frames.udp(from: guest, to: server, payload())]
        }
    }

    /// A packet of IPv4 in pieces, of which some are lost, come twice or in another order.
    private func fragments(_ frame: [UInt8]) -> [[UInt8]] {
        identification &+= 1
        let header = EthernetHeader.length + IPv4Header.length, whole = Array(frame[header...])
        let size = 8 * number(1..<186)
        guard let packet = try? IPv4View(frame.rawSpan.from(EthernetHeader.length)) else { return [frame] }
        let from = Endpoint(MACAddress(frame.rawSpan, at: 6), packet.source)
        let to = Endpoint(FrameFuzz.router, packet.destination), kind = packet.protocolNumber
        var pieces = stride(from: 0, to: min(whole.count, size * 40), by: size).map { start in
            let end = min(whole.count, start + size)
            return Frames.ipv4(
                kind, from: from, to: to, fragment: (end < whole.count ? 0x2000 : 0) | UInt16(start / 8),
                identification: identification, Array(whole[start..<end]))
        }
        if number(0..<4) == 0 { pieces.remove(at: number(0..<pieces.count)) }
        if number(0..<4) == 0 { pieces.shuffle(using: &random) }
        if number(0..<8) == 0, let one = pieces.randomElement(using: &random) { pieces.append(one) }
        return pieces
    }

    /// A datagram or a ping of IPv6, sometimes as one fragment.
    private func datagram6(_ guest: Endpoint) -> [UInt8] {
        let own = IPv6Address(FrameFuzz.prefix, UInt64(guest.address.value & 0xff))
        let to = number(0..<3) == 0 ? IPv6Address(0x2001_0db8 << 32, 1) : IPv6Address(FrameFuzz.prefix, 1)
        let isPing = number(0..<2) == 0, data = payload().prefix(1200)
        var body = ByteWriter()
        if isPing {
            body.put8(ICMPv6Type.echoRequest)
            body.put8(0)
            body.put16(0)
            body.put16(guest.port)
            body.put16(UInt16(number(0..<1000)))
        } else {
            body.put16(guest.port)
            body.put16(FrameFuzz.ports[number(0..<FrameFuzz.ports.count)])
            body.put16(UInt16(UDPHeader.length + data.count))
            body.put16(0)
        }
        body.put(Array(data))
        let kind = isPing ? IPProtocol.icmpv6 : IPProtocol.udp
        let header = IPv6Header(source: own, destination: to, nextHeader: kind)
        let sum = body.checksum(from: 0, adding: header.pseudoHeader(length: body.count))
        body.patch16(
            sum.finishedForUDP, at: isPing ? ICMPHeader.Field.checksum : UDPHeader.Field.checksum)
        var writer = ByteWriter()
        EthernetHeader(destination: FrameFuzz.router, source: guest.hardware, type: EtherType.ipv6).emit(into: &writer)
        guard number(0..<4) == 0 else {
            header.emit(into: &writer, payloadLength: body.count)
            writer.put(body.bytes)
            return writer.bytes
        }
        IPv6Header(source: own, destination: to, nextHeader: IPv6Extension.fragment).emit(
            into: &writer, payloadLength: body.count + 8)
        writer.put8(kind)
        writer.put8(0)
        writer.put16(UInt16(number(0..<2)))
        writer.put32(UInt32(number(0..<64)))
        writer.put(body.bytes)
        return writer.bytes
    }

    /// Changes a frame in a few places, or cuts it. Half of all frames stay good, so that sockets are opened.
    private func damage(_ frame: inout [UInt8]) {
        guard !frame.isEmpty, number(0..<2) == 0 else { return }
        if number(0..<8) == 0 { frame.removeLast(number(0..<frame.count)) }
        for _ in 0..<number(1..<5) where !frame.isEmpty {
            // The sender's hardware address stays one of a few.
            let place = number(0..<frame.count)
            if (6..<12).contains(place) { continue }
            frame[place] = [0, 1, 0x7f, 0x80, 0xff, UInt8(number(0..<256))][number(0..<6)]
        }
    }

    private func virtioHeader() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: VirtioNetHeader.length)
        guard number(0..<16) == 0 else { return bytes }
        var header = VirtioNetHeader()
        header.flags = number(0..<2) == 0 ? .needsChecksum : []
        header.segmentation = [.udp, .tcp4, .tcp6][number(0..<3)]
        header.segmentSize = UInt16(number(0..<1500))
        header.checksumStart = UInt16(number(0..<60))
        header.checksumOffset = UInt16(number(0..<20))
        bytes.withMutableRawSpan { header.emit(into: &$0) }
        return bytes
    }

    // MARK: The run

    private func poll(isReadable: Bool) {
        sink.lockShared()
        _ = nat.poll(isReadable: isReadable)
        sink.unlock()
    }

    private func send(_ frame: [UInt8]) {
        while !nat.inbox.append(frame.rawSpan) { poll(isReadable: true) }
    }

    private func expectAnswer() throws {
        let before = sink.answers.withLock { $0 }, guest = Endpoint.guest(2)
        send(
            [UInt8](repeating: 0, count: VirtioNetHeader.length)
                + Frames.arpRequest(from: guest, for: FrameFuzz.network.gateway))
        for _ in 0..<1000 where sink.answers.withLock({ $0 }) == before { poll(isReadable: true) }
        guard sink.answers.withLock({ $0 }) > before else {
            throw CommandFailed(description: "the NAT does not answer an ARP request any more")
        }
    }

    /// Kilobytes that are resident.
    private static var memory: Int { Int(ProcessorTime.memory(of: CurrentProcess.identifier) / 1024) }
    private static var descriptors: Int { (try? Files.entries("/proc/self/fd").count) ?? 0 }

    private func run(_ total: Int) throws {
        var sent = 0, early: (memory: Int, descriptors: Int)?
        let start = BootClock.now
        while sent < total {
            for _ in 0..<FrameFuzz.burst {
                for var frame in packet() {
                    damage(&frame)
                    send(virtioHeader() + frame)
                    sent += 1
                }
            }
            poll(isReadable: true)
            for peer in peers { echoed += peer.answer() }
            poll(isReadable: true)
            if early == nil, sent >= total / 4 { early = (FrameFuzz.memory, FrameFuzz.descriptors) }
        }
        try expectAnswer()
        let seconds = Double((BootClock.now - start).nanoseconds) / 1e9
        let memory = FrameFuzz.memory, descriptors = FrameFuzz.descriptors
        try StandardOutput.write(
            """
            \(sent) frames in \(seconds.short) s, \((Double(sent) / seconds).short) a second; peers answered \
            \(echoed); \(sink.frames.withLock { $0 }) frames to guests; \(memory) KB, \(descriptors) descriptors

            """)
        guard echoed > total / 1000 else { throw CommandFailed(description: "the peers were hardly reached") }
        if let early, memory > early.memory * 3 / 2 + 32_768 || descriptors > early.descriptors + 1024 {
            throw CommandFailed(description: "memory or descriptors have grown: \(early)")
        }
    }

    static func run(frames: Int, seed: UInt64) throws {
        guard (try? NetworkInterfaces.addresses().allSatisfy { $0.address.isLoopback }) == true else {
            throw CommandFailed(
                description: "fuzz needs a network namespace of its own, with a loopback address only: unshare --net")
        }
        if let index = NetworkInterfaces.index(of: OperatingSystem.loopbackInterface) {
            try NetworkInterfaces.configure(index, up: true)
        }
        try? Files.overwrite("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")
        _ = ProcessLimits.raiseDescriptors()
        try FrameFuzz(seed: seed).run(frames)
    }
}
