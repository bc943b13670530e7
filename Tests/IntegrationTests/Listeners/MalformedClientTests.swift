// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// Input that no client should send, and the others that it must not disturb.
extension IntegrationTests.Listeners {
    /// A neighbour of bad clients.
    private struct Neighbour {
        let end: StreamClient
        let address = MACAddress(0x0200_0000_0001)

        init(_ fixture: ListenerFixture) throws { end = try StreamClient(streamAt: fixture.stream) }

        /// Sends an ARP request for the gateway, and gets the reply.
        func expectAnswer(within seconds: Double = ampleTime) throws {
            try end.send(
                ARPPacket.probe(for: IPv4Address(IntegrationTests.gateway)!, from: address).frame(to: .broadcast))
            try eventually("an answer", within: seconds) {
                end.received().contains { $0.starts(with: address.bytes) }
            }
        }
    }

    @Test func frameSentByteByByteIsForwarded() throws {
        let fixture = try ListenerFixture()
        let neighbour = try Neighbour(fixture), slow = try StreamClient(streamAt: fixture.stream),
            source = MACAddress(0x0200_0000_0003)
        let frame = ARPPacket.probe(for: IPv4Address(IntegrationTests.gateway)!, from: source).frame(to: .broadcast)
        for byte in [0, 0, 0, UInt8(frame.count)] + frame {
            try slow.send(raw: [byte])
            try neighbour.expectAnswer()
        }
        try eventually("an answer", within: ampleTime) { slow.received().contains { $0.starts(with: source.bytes) } }
        #expect(try fixture.daemon.stop() == .exited(0))
    }

    /// More clients than ports: those beyond the limit are rejected, and get a port when others have disconnected.
    @Test func clientsBeyondPortLimitAreRejected() throws {
        ProcessLimits.raiseDescriptors()
        let fixture = try ListenerFixture()
        let neighbour = try Neighbour(fixture)
        var crowd = try (0..<1200).map { _ in try StreamClient(streamAt: fixture.stream) }
        try fixture.daemon.program.wait(for: "no port is left")
        try neighbour.expectAnswer()
        try eventually("the end of the last one", within: ampleTime) { crowd.last!.isOver }
        crowd.removeAll()
        try eventually("a port for a new one", within: ampleTime) {
            // One that comes before the others' ports are free is rejected, and gets no answer.
            let late = try Neighbour(fixture)
            return (try? late.expectAnswer(within: 1)) != nil
        }
        #expect(try fixture.daemon.stop() == .exited(0))
    }

    @Test func nonSocketpairDescriptorIsRejectedAtStart() throws {
        let folder = try TemporaryFolder()
        try Files.replace(folder.file("file"), [1])
        let file = try Files.open(folder.file("file"), .readOnly), terminal = try Files.open("/dev/ptmx", .readWrite)
        let internet = try Socket.tcp(), lonely = try Socket.unixStream()
        func complaint(_ number: Int, _ descriptor: Int32? = nil) throws -> String {
            let result = try ChildProcess.run(
                [TestHost.product("vde_vmnet"), "--uplink", "none", "--fd", String(number)], descriptor: descriptor)
            #expect(result.termination == .exited(64) && result.output.isEmpty)
            return result.error
        }
        #expect(
            try complaint(99).contains(
                "--fd 99: descriptor 99 is not open; the program that starts this one must pass it on"))
        #expect(
            try complaint(0, file.raw).contains(
                "--fd 0: descriptor 0 is not a socket; pass one end of a connected unix socket"))
        #expect(try complaint(0, terminal.raw).contains("--fd 0: descriptor 0 is not a socket"))
        #expect(try complaint(0, internet.raw).contains("--fd 0: descriptor 0 is not a unix socket"))
        #expect(try complaint(0, lonely.raw).contains("--fd 0: descriptor 0 is not connected"))
    }

    @Test func unanswerableSendersAreReported() throws {
        let fixture = try ListenerFixture()
        let unnamed = try Socket.unixDatagram()
        try unnamed.connect(to: UnixPath(fixture.dgram))
        _ = try unnamed.send([UInt8](repeating: 1, count: 60))
        try fixture.daemon.program.wait(for: "sends from a socket without a name")
        // The name of another client: the socket was replaced by a link to that client's socket.
        let victim = try DatagramClient(fixture.folder.file("victim"), to: fixture.dgram)
        let liar = try DatagramClient(fixture.folder.file("liar"), to: fixture.dgram)
        try Files.remove(fixture.folder.file("liar"))
        _ = try ChildProcess.run(["ln", "-s", fixture.folder.file("victim"), fixture.folder.file("liar")])
        try liar.send([UInt8](repeating: 1, count: 60))
        try fixture.daemon.program.wait(for: "refused \(fixture.folder.file("liar"))")
        #expect(victim.received().isEmpty)
        // The others are as they were.
        let source = MACAddress(0x0200_0000_0001)
        try victim.send(
            ARPPacket.probe(for: IPv4Address(IntegrationTests.gateway)!, from: source).frame(to: .broadcast))
        try eventually("an answer") { victim.received().contains { $0.starts(with: source.bytes) } }
        #expect(try fixture.daemon.stop() == .exited(0))
    }

    @Test func malformedClientsDisconnectOnlyThemselves() throws {
        let fixture = try ListenerFixture()
        let good = try StreamClient(streamAt: fixture.stream), source = MACAddress(0x0200_0000_0001)
        func expectAnswer() throws {
            try good.send(
                ARPPacket.probe(for: IPv4Address(IntegrationTests.gateway)!, from: source).frame(to: .broadcast))
            try eventually("an answer") { good.received().contains { $0.starts(with: source.bytes) } }
        }
        try expectAnswer()
        for length: UInt32 in [0, 13, 65_551, .max] {
            let bad = try StreamClient(streamAt: fixture.stream)
            try bad.send(raw: (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) })
            try fixture.daemon.program.wait(for: "it announced a frame of \(length) bytes")
            try eventually("its end") { bad.isOver }
        }
        try expectAnswer()
        // A thousand that connect and leave, some in the middle of a frame.
        for number in 0..<1000 {
            let guest = try StreamClient(streamAt: fixture.stream)
            if number % 3 == 0 { try guest.send(raw: [0, 0, 1]) }
            if number % 7 == 0 { try? guest.send([UInt8](repeating: 2, count: 60)) }
            guest.close()
        }
        try expectAnswer()
        // One that never reads, while thousands of broadcasts come.
        let stalled = try StreamClient(streamAt: fixture.stream)
        for _ in 0..<3000 {
            try good.send(
                MACAddress.broadcast.bytes + source.bytes + [0x88, 0xb5] + [UInt8](repeating: 0, count: 1400))
        }
        try expectAnswer()
        try eventually("its drops are counted") {
            fixture.daemon.program.signal(Signal.user1)
            return fixture.daemon.program.output.contains("queueFull")
        }
        stalled.close()
        #expect(try fixture.daemon.stop() == .exited(0))
    }
}
