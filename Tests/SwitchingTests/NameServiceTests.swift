// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import TestSupport
import Testing
import Timing
import Wire

@testable import Switching

/// Guests' questions for names are taken where they come in, and nothing else is.
@Suite struct NameServiceTests {
    private static let gateway = IPv4Address("192.168.105.1")!, router = mac(9), mine = IPv4Address("192.168.105.2")!

    private final class Scene {
        let harness: ForwarderHarness
        let guest: PeerSocket
        let uplink: PeerSocket
        let streams: PolledTestDevice
        let injector: InjectionPort
        private(set) var streamPort: PortNumber = 0

        init(takesStreams: Bool = true) throws {
            harness = try ForwarderHarness()
            guest = try harness.attach()
            uplink = try harness.attach(.uplink, receivesUnknown: false)
            streams = try PolledTestDevice()
            injector = InjectionPort(harness.control)
            harness.control.addStatic(router, at: uplink.number)
            harness.control.setPolicy(ServicePolicy(takesDHCP: true))
            harness.control.bind([LeaseBinding(mine, mac(1), until: .distantFuture)])
            if takesStreams {
                var configuration = PortConfiguration(
                    name: "names", kind: .device, role: .service,
                    descriptor: try streams.wakeup.descriptor.duplicate().release(), maximumFrame: 1514,
                    receivesUnknown: false)
                configuration.device = FrameDevice(streams)
                configuration.injector = injector
                streamPort = try #require(harness.control.attach(configuration))
            }
            harness.control.setNameService(
                NameService(address: gateway, hardware: router, streams: takesStreams ? streamPort : nil))
            harness.settle()
            _ = streams.takePolls()
        }

        /// Sends a frame of the device's.
        func forward(_ frame: [UInt8]) {
            var batch = FrameBatch(capacity: ForwardingWorker.batchCapacity)
            batch.append(copying: frame.rawSpan)
            injector.lockShared()
            injector.inject(&batch)
            injector.unlock()
        }

        /// Frames of TCP that were taken.
        func takenStreams() -> Int { streams.takePolls().reduce(0) { $0 + $1.frames } }
    }

    private static func datagram(
        from source: MACAddress = mac(1), _ address: IPv4Address = mine, to destination: IPv4Address = gateway,
        _ port: UInt16 = 53, hardware: MACAddress = router
    ) -> [UInt8] {
        Frames.udp(
            from: Endpoint(source, address, port: 4000), to: Endpoint(hardware, destination, port: port),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    }

    private static func segment(to destination: IPv4Address = gateway, _ port: UInt16 = 53) -> [UInt8] {
        Frames.tcp(
            .syn, from: Endpoint(mac(1), mine, port: 4000), to: Endpoint(router, destination, port: port), sequence: 1)
    }

    private static func tagged(_ frame: [UInt8], _ vlan: UInt8) -> [UInt8] {
        frame[0..<12] + [0x81, 0, 0x20, vlan] + frame[12...]
    }

    @Test func queriesAreDivertedWithTheirPort() throws {
        let scene = try Scene()
        for frame in [Self.datagram(), Self.segment(), Self.tagged(Self.datagram(), 0), Self.tagged(Self.segment(), 0)]
        { try scene.guest.send(frame) }
        scene.harness.settle()
        #expect(scene.uplink.received().isEmpty)
        // Without its tags.
        for _ in 0..<2 {
            let question = try #require(scene.harness.control.removeNameQuery())
            #expect(question.frame == Self.datagram() && question.port == scene.guest.number)
        }
        #expect(scene.harness.control.removeNameQuery() == nil)
        #expect(scene.takenStreams() == 2)
        #expect(
            scene.harness.control.port(ofCaller: IPv6Address(embedding: Self.mine)) == scene.guest.number
                && scene.harness.control.port(ofCaller: IPv6Address(embedding: Self.gateway)) == 0)
    }

    @Test func otherFramesAreNotDiverted() throws {
        let scene = try Scene(), elsewhere = IPv4Address("192.0.2.1")!
        var rest = Self.datagram(), large = Self.datagram(to: Self.gateway, 54)
        rest[21] = 1
        large[20] = 0x20
        let passing = [
            Self.datagram(to: elsewhere), Self.datagram(to: Self.gateway, 54), Self.segment(to: elsewhere),
            Self.segment(to: Self.gateway, 80), large, rest,
        ]
        for frame in passing { try scene.guest.send(frame) }
        try scene.guest.send(Self.tagged(Self.datagram(), 7))
        // Nor what claims another's address, or another's hardware to go to, nor what is cut short.
        let other = try scene.harness.attach()
        try other.send(Self.datagram(from: mac(2)))
        try scene.guest.send(Self.datagram(hardware: mac(2)))
        for length in 14..<46 { try scene.guest.send(Array(Self.datagram().prefix(length))) }
        scene.harness.settle()
        #expect(scene.uplink.received().filter { $0.count >= 46 } == passing)
        #expect(scene.harness.control.removeNameQuery() == nil && scene.takenStreams() == 0)
        #expect(scene.harness.counters(other).drops(.spoofed) == 1)
    }

    /// The first fragment has the ports. Without it, neither the host nor the NAT sees a query that it would refuse.
    @Test func queriesInFragmentsAreDroppedWithTheirReason() throws {
        let scene = try Scene(), gateway6 = IPv6Address("fd00::1")!
        scene.harness.control.setNameService(
            NameService(
                address: Self.gateway, address6: gateway6, hardware: Self.router, streams: scene.streamPort))
        scene.harness.settle()
        var datagram = Self.datagram(), segment = Self.segment()
        datagram[20] = 0x20
        segment[20] = 0x20
        func fragment6(_ destination: IPv6Address, offset: UInt8, port: UInt8 = 53, next: UInt8 = 17) -> [UInt8] {
            let payload: [UInt8] = [next, 0, 0, offset, 0, 0, 0, 1, 1, 1, 0, port, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
            return Self.router.bytes + mac(1).bytes + [0x86, 0xdd, 0x60, 0, 0, 0, 0, UInt8(payload.count), 44, 64]
                + IPv6Address("fd00::2")!.bytes + destination.bytes + payload
        }
        let dropped = [
            datagram, segment, Self.tagged(datagram, 0), fragment6(gateway6, offset: 1), fragment6(gateway6, offset: 0),
            fragment6(gateway6, offset: 1, next: 6),
        ]
        for frame in dropped { try scene.guest.send(frame) }
        scene.harness.settle()
        #expect(scene.uplink.received().isEmpty && scene.harness.control.removeNameQuery() == nil)
        #expect(scene.takenStreams() == 0 && scene.harness.counters(scene.guest).drops(.fragment) == dropped.count)
        let passing = [
            fragment6(gateway6, offset: 9), fragment6(gateway6, offset: 1, port: 54),
            fragment6(IPv6Address("fd00::3")!, offset: 1),
        ]
        for frame in passing { try scene.guest.send(frame) }
        scene.harness.settle()
        #expect(scene.uplink.received() == passing)
        // The NAT terminates TCP itself, and reassembles it.
        scene.harness.control.setNameService(NameService(address: Self.gateway, hardware: Self.router))
        scene.harness.settle()
        try scene.guest.send(segment)
        scene.harness.settle()
        #expect(scene.uplink.received() == [segment])
    }

    @Test func queriesReachTheUplinkWithoutTheService() throws {
        let scene = try Scene(takesStreams: false)
        try scene.guest.send(Self.segment())
        scene.harness.settle()
        #expect(scene.uplink.received() == [Self.segment()], "the way out ends streams itself")
        scene.harness.control.setNameService(nil)
        scene.harness.settle()
        try scene.guest.send(Self.datagram())
        scene.harness.settle()
        #expect(scene.uplink.received() == [Self.datagram()] && scene.harness.control.removeNameQuery() == nil)
    }

    @Test func floodOfQueriesLeavesRoomForOthersAndDHCP() throws {
        let scene = try Scene(), other = try scene.harness.attach()
        for _ in 0..<20 {
            for _ in 0..<100 { try scene.guest.send(Self.datagram()) }
            scene.harness.settle()
        }
        try other.send(Self.datagram(from: mac(2), IPv4Address("192.168.105.3")!))
        let request = Frames.udp(
            from: Endpoint(mac(2), port: 68), to: Endpoint(.broadcast, .broadcast, port: 67),
            [UInt8](repeating: 0, count: 300))
        try other.send(request)
        scene.harness.settle()
        var ports: [PortNumber] = []
        while let question = scene.harness.control.removeNameQuery() { ports.append(question.port) }
        #expect(ports.last == other.number && (100..<200).contains(ports.count), "\(ports.count)")
        #expect(scene.harness.control.removeServiceFrame().map { _ in true } == true)
    }

    @Test func repliesReachTheGuest() throws {
        let scene = try Scene()
        try scene.guest.send(Self.datagram())
        scene.harness.settle()
        let answer = Frames.udp(
            from: Endpoint(Self.router, Self.gateway, port: 53), to: Endpoint(mac(1), Self.mine, port: 4000), [7])
        #expect(scene.harness.control.sendNameReply(answer))
        scene.harness.control.wakeForNameReplies()
        scene.harness.settle()
        #expect(scene.guest.received() == [answer] && scene.uplink.received().isEmpty)
    }

    @Test func queriesAreDivertedInTheUplinksVLANOnly() throws {
        let scene = try Scene(), tagging = try scene.harness.attach(), outsider = try scene.harness.attach()
        scene.harness.control.setVLANs(of: scene.uplink.number, untagged: 5, tagged: [])
        scene.harness.control.setVLANs(of: scene.guest.number, untagged: 5, tagged: [])
        scene.harness.control.setVLANs(of: tagging.number, untagged: 6, tagged: [5])
        scene.harness.control.setVLANs(of: outsider.number, untagged: 6, tagged: [])
        scene.harness.control.setVLANAware(true)
        scene.harness.settle()
        let third = IPv4Address("192.168.105.3")!
        try scene.guest.send(Self.datagram())
        try tagging.send(Self.tagged(Self.datagram(from: mac(2), third), 5))
        try outsider.send(Self.datagram(from: mac(3), third))
        scene.harness.settle()
        var ports: [PortNumber] = []
        while let question = scene.harness.control.removeNameQuery() { ports.append(question.port) }
        #expect(ports.sorted() == [scene.guest.number, tagging.number].sorted())
        #expect(
            tagging.received() == [Self.datagram(from: mac(3), third)], "in the other VLAN it is a frame like any other"
        )
        // Answers stay in that VLAN, over UDP as over TCP.
        let answer = frame(to: .broadcast, from: Self.router, [1])
        for send in [{ scene.forward(answer) }, { _ = scene.harness.control.sendNameReply(answer) }] {
            send()
            scene.harness.control.wakeForNameReplies()
            scene.harness.settle()
            #expect(scene.guest.received() == [answer] && outsider.received().isEmpty)
            #expect(tagging.received() == [answer[0..<12] + [0x81, 0, 0, 5] + answer[12...]])
        }
    }
}
