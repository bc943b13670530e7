// SPDX-License-Identifier: Apache-2.0
import Listeners
import Platform
import TestSupport
import Testing

/// Descriptors that `--fd` accepts, and the errors for all others.
@Suite struct InheritedDescriptorTests {
    private func complaint(_ raw: Int32) -> String? {
        do throws(ListenerError) {
            _ = try InheritedDescriptor(raw)
            return nil
        } catch {
            #expect(error.cause == .unsuitable)
            return error.description
        }
    }

    @Test func connectedPairsAreAccepted() throws {
        let stream = try DescriptorPair.streamSockets(), datagram = try DescriptorPair.datagramSockets()
        #expect(try InheritedDescriptor(stream.first.raw).isStream)
        #expect(try !InheritedDescriptor(datagram.first.raw).isStream)
    }

    @Test(.enabled(if: Socket.hasSequencedPackets))
    func pairOfSequencedPacketsIsAccepted() throws {
        let pair = try DescriptorPair.sequencedPacketSockets()
        #expect(try InheritedDescriptor(pair.first.raw).kind == .sequencedPacket)
        #expect(try ActivatedSocket(pair.first.raw).kind == .connection(try InheritedDescriptor(pair.first.raw)))
    }

    @Test(.enabled(if: Socket.hasSequencedPackets))
    func listeningSocketOfSequencedPacketsIsAnActivatedListener() throws {
        let folder = try TemporaryFolder()
        let socket = try Socket.unixSequencedPacket()
        try socket.bind(to: UnixPath(folder.file("packets")))
        #expect(throws: ListenerError.self, "it does not listen") { try ActivatedSocket(socket.raw) }
        try socket.listen()
        #expect(try ActivatedSocket(socket.raw).kind == .listener(.sequencedPacket))
        #expect(throws: ListenerError.self, "front ends use streams") {
            try ActivatedSocket(socket.raw, isVhostUser: true)
        }
        #expect(complaint(socket.raw)?.contains("use --seqpacket with its path") == true)
    }

    @Test func closedDescriptorIsReported() throws {
        // A number that is not open.
        #expect(complaint(1_000_000)?.contains("is not open") == true)
    }

    @Test func nonSocketsAreReported() throws {
        let folder = try TemporaryFolder()
        try Files.replace(folder.file("file"), [1])
        let file = try Files.open(folder.file("file"), .readOnly), terminal = try Files.open("/dev/ptmx", .readWrite),
            pipe = try DescriptorPair.pipe()
        for raw in [file.raw, terminal.raw, pipe.first.raw] {
            #expect(complaint(raw)?.contains("is not a socket") == true)
        }
    }

    @Test func unsuitableSocketsAreReported() throws {
        let folder = try TemporaryFolder()
        let internet = try Socket.tcp(), datagram = try Socket.udp()
        for raw in [internet.raw, datagram.raw] { #expect(complaint(raw)?.contains("not a unix socket") == true) }
        let listener = try Socket.unixStream()
        try listener.bind(to: UnixPath(folder.file("listener")))
        try listener.listen()
        #expect(complaint(listener.raw)?.contains("listening") == true)
        let alone = try Socket.unixDatagram()
        try alone.bind(to: UnixPath(folder.file("alone")))
        #expect(complaint(alone.raw)?.contains("not connected") == true)
    }

    @Test func activatedSocketKindsAreDetected() throws {
        let folder = try TemporaryFolder()
        let listener = try Socket.unixStream(), datagram = try Socket.unixDatagram(),
            pair = try DescriptorPair.streamSockets()
        try listener.bind(to: UnixPath(folder.file("stream")))
        try datagram.bind(to: UnixPath(folder.file("dgram")))
        #expect(throws: ListenerError.self, "it does not listen") { try ActivatedSocket(listener.raw) }
        try listener.listen()
        let stream = try ActivatedSocket(listener.raw), dgram = try ActivatedSocket(datagram.raw),
            connected = try ActivatedSocket(pair.first.raw)
        #expect(stream.kind == .listener(.stream) && stream.path == folder.file("stream"))
        #expect(dgram.kind == .listener(.datagram) && dgram.path == folder.file("dgram"))
        #expect(connected.kind == .connection(try InheritedDescriptor(pair.first.raw)))
        let internet = try Socket.tcp()
        #expect(throws: ListenerError.self) { try ActivatedSocket(internet.raw) }
    }
}
