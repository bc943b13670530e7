// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Listeners whose clients have offload.
    @Suite(.enabled(if: Socket.hasSequencedPackets)) struct OffloadListeners {
        private func client(_ kind: String, of fixture: ListenerFixture) throws -> any FrameClient {
            switch kind {
            case "stream": try StreamClient(streamAt: fixture.stream)
            case "dgram": try DatagramClient(fixture.folder.file("client"), to: fixture.dgram)
            default: try PacketClient(at: fixture.packets)
            }
        }

        /// Data in frames of 60,000 bytes to a server of the host, and data of the host in GSO frames back.
        @Test(arguments: ["stream", "dgram", "packets"], [[], ["--uplink", "user", "--host-loopback"]])
        func longFramesReachHostAndGuest(kind: String, options: [String]) throws {
            let fixture = try ListenerFixture(packets: true, offload: true, options)
            let guest = try OffloadedGuest(
                try client(kind, of: fixture), number: 77, to: IPv4Address(IntegrationTests.gateway)!)
            #expect(fixture.daemon.readyLine.contains("stream at \(fixture.stream) with offload, "))
            let paths = ["stream": fixture.stream, "dgram": fixture.dgram, "packets": fixture.packets]
            let path = try #require(paths[kind])
            #expect(fixture.daemon.program.output.contains("\(path) with offload, "), "the client's name")
            var random = SeededGenerator(seed: 25)
            let bytes = (0..<400_000).map { _ in UInt8.random(in: 0...255, using: &random) }
            let received = fixture.folder.file("received"), sent = fixture.folder.file("sent")
            try Files.replace(sent, bytes)
            let sink = try fixture.host.start(["sh", "-c", "exec busybox nc -l -p 7000 >\(received)"])
            try fixture.host.waitForListener(on: 7000)
            try guest.connect(from: 40_001, to: 7000)
            try guest.send(bytes)
            try eventually("the data", within: ampleTime) { (try? Files.read(received)) == bytes }
            sink.kill()

            let source = try fixture.host.start(["sh", "-c", "exec busybox nc -l -p 7001 <\(sent)"])
            try fixture.host.waitForListener(on: 7001)
            let reader = try OffloadedGuest(
                try PacketClient(at: fixture.packets), number: 78, to: IPv4Address(IntegrationTests.gateway)!)
            try reader.connect(from: 40_002, to: 7001)
            try reader.receiveAll()
            #expect(reader.data == bytes && reader.damaged == 0)
            #expect(reader.lengths.contains { $0 > 1514 }, "some frames are longer than the MTU")
            source.kill()
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A guest with offload and guests without on one network.
        @Test(.enabled(if: VirtualMachine.canRunUML, "\(VirtualMachine.umlReason)"))
        func guestWithoutOffloadReceivesSegments() throws {
            let fixture = try ListenerFixture(vde: true, offload: true)
            let other = try VirtualMachine.uml(
                "uml", network: "vde,\(fixture.vde)", mac: "52:54:00:00:00:01", in: fixture.host,
                folder: fixture.folder)
            try other.waitUntilBooted()
            let address = VirtualMachine.address(in: try other.lease())
            // Port 7000 is 1B58.
            try other.run("nc -l -p 7000 > /received & until grep -q :1B58 /proc/net/tcp; do :; done")
            let guest = try OffloadedGuest(
                try StreamClient(streamAt: fixture.stream), number: 77, to: try #require(IPv4Address(address)))
            try guest.connect(from: 40_001, to: 7000)
            let bytes = [UInt8](repeating: 7, count: 200_000)
            try guest.send(bytes)
            try eventually("the data", within: ampleTime) {
                try other.run("wc -c < /received").output.contains("200000")
            }
            #expect(guest.damaged == 0)
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
