// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import TestSupport
import Testing
import VirtioRing

@testable import VhostUser

/// A connection whose loop this process runs, and the front end at its other end.
private final class ConnectionFixture {
    let loop: ControlLoop
    let guest = try? VhostGuest()
    private(set) var connection: VhostConnection?
    private(set) var ends: [String?] = []

    init() throws {
        loop = try ControlLoop()
        var pair = try DescriptorPair.streamSockets()
        let ours = try pair.first.duplicate()
        pair.first = try pair.second.duplicate()
        guest!.adopt(try pair.second.duplicate())
        connection = try VhostConnection(ours, mtu: 1500, loop: loop) { [unowned self] in
            ends.append($0)
            connection?.close()
        }
    }

    /// Handles what has arrived.
    func run() {
        for _ in 0..<20 {
            loop.scheduleSoon {}
            loop.runOnce()
        }
    }
}

@Suite struct VhostConnectionTests {
    @Test func requestsAreAnswered() throws {
        let fixture = try ConnectionFixture()
        let guest = try #require(fixture.guest)
        try guest.request(1)
        fixture.run()
        #expect(try guest.reply().value == VirtioFeatures.offered.rawValue)
        try guest.request(15)
        fixture.run()
        #expect(try guest.reply() == (15, 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 13 | 1 << 16))
        try guest.request(17)
        fixture.run()
        #expect(try guest.reply() == (17, 8))
        try guest.request(16, VhostGuest.words(8))
        // One that is not handled, and one with an acknowledgement.
        try guest.request(25, VhostGuest.words(0, 0), flags: 9)
        fixture.run()
        #expect(try guest.reply() == (25, 1))
        try guest.request(5, VhostGuest.memoryTable, flags: 9, descriptors: [guest.file.raw])
        fixture.run()
        #expect(try guest.reply() == (5, 0))
        try guest.request(10, VhostGuest.words32(1, 77))
        try guest.request(11, VhostGuest.words32(1, 0))
        fixture.run()
        #expect(try guest.reply() == (11, 1 | 77 << 32))
        #expect(fixture.ends.isEmpty)
        guest.disconnect()
        fixture.run()
        #expect(fixture.ends == [nil])
    }

    /// QEMU reports to its user that `host_mtu` is not possible.
    @Test func greaterMTUThanTheNetworkHasIsRefused() throws {
        let fixture = try ConnectionFixture()
        let guest = try #require(fixture.guest)
        try guest.request(16, VhostGuest.words(1 << 3 | 1 << 4))
        for (mtu, outcome) in [(1500, 0), (1501, 1), (576, 0)] as [(UInt64, UInt64)] {
            try guest.request(20, VhostGuest.words(mtu), flags: 9)
            fixture.run()
            #expect(try guest.reply() == (20, outcome))
        }
    }

    /// A driver starts again from the beginning, by either request.
    @Test(arguments: [false, true]) func resetDeviceStartsAgain(byStatus: Bool) throws {
        let fixture = try ConnectionFixture()
        let guest = try #require(fixture.guest)
        try guest.request(16, VhostGuest.words(1 << 3 | 1 << 13 | 1 << 16))
        try guest.request(39, VhostGuest.words(15))
        try guest.request(40)
        fixture.run()
        #expect(try guest.reply() == (40, 15))
        try guest.request(2, VhostGuest.words(1 << 32 | 1 << 30))
        fixture.run()
        #expect(fixture.connection?.device.features == [.version1, .protocolFeatures])
        try guest.request(byStatus ? 39 : 34, byStatus ? VhostGuest.words(0) : [], flags: 9)
        fixture.run()
        #expect(try guest.reply() == (byStatus ? 39 : 34, 0))
        #expect(fixture.connection?.device.features == [])
        #expect(fixture.ends.isEmpty)
    }

    @Test func messageInPiecesIsPutTogether() throws {
        let fixture = try ConnectionFixture()
        let guest = try #require(fixture.guest)
        for byte in VhostGuest.words32(1, 1, 0) {
            try guest.send(raw: [byte])
            fixture.run()
        }
        #expect(try guest.reply().number == 1)
    }

    @Test(
        arguments: [
            (2, VhostGuest.words(1 << 35), "features that were not offered"),
            (8, VhostGuest.words32(16, 64), "queues=8"),
            (12, VhostGuest.words(0), "without its descriptor"),
            (5, VhostGuest.memoryTable, "1 memory regions came with 0 descriptors"),
            (6, VhostGuest.words(4096, 0), "dirty log came without its descriptor"),
            (10, VhostGuest.words32(0, 70_000), "begins at index 70000"),
            (18, VhostGuest.words32(0), "has 4 bytes instead of 8"),
        ] as [(UInt32, [UInt8], String)])
    func impossibleRequestEndsConnection(number: UInt32, payload: [UInt8], reason: String) throws {
        let fixture = try ConnectionFixture()
        try fixture.guest?.request(number, payload)
        fixture.run()
        #expect(fixture.ends.count == 1)
        #expect(fixture.ends.first??.contains(reason) == true, "\(fixture.ends)")
    }

    /// Descriptors that come with messages which need none do not pile up.
    @Test func descriptorsAreClosed() throws {
        let fixture = try ConnectionFixture()
        let guest = try #require(fixture.guest)
        let before = try Files.entries("/proc/self/fd").count
        for _ in 0..<100 {
            try guest.request(3, descriptors: [guest.file.raw, guest.file.raw])
            fixture.run()
        }
        #expect(try Files.entries("/proc/self/fd").count < before + 50)
        #expect(fixture.ends.isEmpty)
    }

    @Test func randomMessagesHarmNothing() throws {
        var random = SeededGenerator(seed: 7)
        for _ in 0..<Rounds.of(200) {
            let fixture = try ConnectionFixture()
            let guest = try #require(fixture.guest)
            for _ in 0..<30 {
                let number = UInt32.random(in: 0..<45, using: &random)
                let payload =
                    switch Int.random(in: 0..<4, using: &random) {
                    case 0: random.bytes(Int.random(in: 0..<64, using: &random))
                    case 1: VhostGuest.memoryTable
                    case 2:
                        VhostGuest.words32(UInt32.random(in: 0..<3, using: &random), random.next() % 2 == 0 ? 64 : 1)
                    default: VhostGuest.words(random.next() % 4)
                    }
                let descriptors =
                    random.next() % 2 == 0
                    ? [] : [guest.file.raw, guest.kicks[0].value.signalDescriptor].shuffled(using: &random).prefix(1)
                guard (try? guest.request(number, payload, flags: 1 | 8, descriptors: Array(descriptors))) != nil else {
                    break
                }
                fixture.run()
                if !fixture.ends.isEmpty { break }
            }
            fixture.connection?.close()
        }
    }
}
