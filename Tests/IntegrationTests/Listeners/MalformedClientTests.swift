// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// What no client should do, nor who starts us, and the others who must not notice.
extension IntegrationTests.Listeners {
    /// A neighbour of bad clients.
    private struct Neighbour {
        let end: SocketEnd
        let address = MACAddress(0x0200_0000_0001)

        init(_ scene: ListenerScene) throws { end = try SocketEnd(streamAt: scene.stream) }

        /// Asks who has the gateway, and is answered.
        func isWell() throws {
            try end.send(
                ARPPacket.probe(for: IPv4Address(IntegrationTests.gateway)!, from: address).frame(to: .broadcast))
            try eventually("an answer", within: ampleTime) {
                end.received().contains { $0.starts(with: address.bytes) }
            }
        }
    }

    @Test func aFrameThatComesByteByByteIsOneLikeOthers() throws {
        let scene = try ListenerScene()
        let neighbour = try Neighbour(scene), slow = try SocketEnd(streamAt: scene.stream),
            source = MACAddress(0x0200_0000_0003)
        let frame = ARPPacket.probe(for: IPv4Address(IntegrationTests.gateway)!, from: source).frame(to: .broadcast)
        for byte in [0, 0, 0, UInt8(frame.count)] + frame {
            try slow.send(raw: [byte])
            try neighbour.isWell()
        }
        try eventually("an answer", within: ampleTime) { slow.received().contains { $0.starts(with: source.bytes) } }
        #expect(try scene.daemon.stop() == .exited(0))
    }

    /// More than there are ports: who comes too late is turned away, and has a port when others have gone.
    @Test func moreThanThereArePortsAreTurnedAway() throws {
        ProcessLimits.raiseDescriptors()
        let scene = try ListenerScene()
        let neighbour = try Neighbour(scene)
        var crowd = try (0..<1200).map { _ in try SocketEnd(streamAt: scene.stream) }
        try scene.daemon.program.wait(for: "no port is left")
        try neighbour.isWell()
        try eventually("the end of the last one", within: ampleTime) { crowd.last!.isOver }
        crowd.removeAll()
        try eventually("a port for a new one", within: ampleTime) {
            let late = try Neighbour(scene)
            return (try? late.isWell()) != nil
        }
        #expect(try scene.daemon.stop() == .exited(0))
    }

    @Test func whatIsNoEndOfAPairIsRefusedAtTheStart() throws {
        let folder = try TemporaryFolder()
        try Files.replace(folder.file("file"), [1])
        let file = try Files.open(folder.file("file"), .readOnly), terminal = try Files.open("/dev/ptmx", .readWrite)
        let internet = try UnixSocket.internetStream(), lonely = try UnixSocket.stream()
        func complaint(_ number: Int, _ descriptor: Int32? = nil) throws -> String {
            let result = try ChildProcess.run(
                [Machine.product("vde_vmnet"), "--uplink", "none", "--fd", String(number)], descriptor: descriptor)
            #expect(result.termination == .exited(64) && result.output.isEmpty)
            return result.error
        }
        #expect(
            try complaint(99).contains(
                "--fd 99: descriptor 99 is not open; the program that starts this one must pass it on"))
        #expect(
            try complaint(0, file.raw).contains(
                "--fd 0: descriptor 0 is no socket; it must be one end of a connected unix socket"))
        #expect(try complaint(0, terminal.raw).contains("--fd 0: descriptor 0 is no socket"))
        #expect(try complaint(0, internet.raw).contains("--fd 0: descriptor 0 is a socket of another kind than unix"))
        #expect(try complaint(0, lonely.raw).contains("--fd 0: descriptor 0 is not connected to anything"))
    }

    @Test func sendersThatCannotBeAnsweredAreNamed() throws {
        let scene = try ListenerScene()
        let nobody = try UnixSocket.datagram()
        try nobody.connect(to: UnixPath(scene.dgram))
        _ = try nobody.send([UInt8](repeating: 1, count: 60))
        try scene.daemon.program.wait(for: "sends from a socket without a name")
        // A name of somebody else's: the socket was moved away, and a link to another one laid in its place.
        let victim = try DatagramClient(scene.folder.file("victim"), to: scene.dgram)
        let liar = try DatagramClient(scene.folder.file("liar"), to: scene.dgram)
        try Files.remove(scene.folder.file("liar"))
        _ = try ChildProcess.run(["ln", "-s", scene.folder.file("victim"), scene.folder.file("liar")])
        try liar.send([UInt8](repeating: 1, count: 60))
        try scene.daemon.program.wait(for: "turned away \(scene.folder.file("liar"))")
        #expect(victim.received().isEmpty)
        // The others are as they were.
        let source = MACAddress(0x0200_0000_0001)
        try victim.send(
            ARPPacket.probe(for: IPv4Address(IntegrationTests.gateway)!, from: source).frame(to: .broadcast))
        try eventually("an answer") { victim.received().contains { $0.starts(with: source.bytes) } }
        #expect(try scene.daemon.stop() == .exited(0))
    }

    @Test func badClientsEndAlone() throws {
        let scene = try ListenerScene()
        let good = try SocketEnd(streamAt: scene.stream), source = MACAddress(0x0200_0000_0001)
        func isWell() throws {
            try good.send(
                ARPPacket.probe(for: IPv4Address(IntegrationTests.gateway)!, from: source).frame(to: .broadcast))
            try eventually("an answer") { good.received().contains { $0.starts(with: source.bytes) } }
        }
        try isWell()
        for length: UInt32 in [0, 13, 65_551, .max] {
            let bad = try SocketEnd(streamAt: scene.stream)
            try bad.send(raw: (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) })
            try scene.daemon.program.wait(for: "it announced a frame of \(length) bytes")
            try eventually("its end") { bad.isOver }
        }
        try isWell()
        // A thousand that connect and leave, some in the middle of a frame.
        for number in 0..<1000 {
            let guest = try SocketEnd(streamAt: scene.stream)
            if number % 3 == 0 { try guest.send(raw: [0, 0, 1]) }
            if number % 7 == 0 { try? guest.send([UInt8](repeating: 2, count: 60)) }
            guest.close()
        }
        try isWell()
        // One that never reads, while thousands of broadcasts come.
        let stalled = try SocketEnd(streamAt: scene.stream)
        for _ in 0..<3000 {
            try good.send(
                MACAddress.broadcast.bytes + source.bytes + [0x88, 0xb5] + [UInt8](repeating: 0, count: 1400))
        }
        try isWell()
        try eventually("its drops are counted") {
            scene.daemon.program.signal(Signal.user1)
            return scene.daemon.program.output.contains("queueFull")
        }
        stalled.close()
        #expect(try scene.daemon.stop() == .exited(0))
    }
}
