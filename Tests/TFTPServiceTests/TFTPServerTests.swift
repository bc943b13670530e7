// SPDX-License-Identifier: Apache-2.0
import TFTPService
import TestSupport
import Testing
import Timing
import Wire

/// A file in memory.
private final class MemoryFile: TFTPFile {
    var contents: [UInt8]
    let size: Int

    init(_ count: Int) {
        var random = SeededGenerator(seed: UInt64(count))
        contents = random.bytes(count)
        size = count
    }

    func read(at offset: Int, count: Int) -> [UInt8]? { Array(contents.dropFirst(offset).prefix(count)) }
}

private func client(_ port: UInt16, guest: Int = 1, ingress: UInt16 = 1) -> TFTPClient {
    TFTPClient(
        ingress: ingress, hardware: Frames.mac(guest), address: IPv4Address(0xc0a8_6900 + UInt32(guest)), port: port)
}

private struct TFTPHarness {
    var server = TFTPServer<MemoryFile>(largestBlock: 1468)
    var now = Instant.distantPast + .seconds(1000)
    var outbox = TFTPServer<MemoryFile>.Outbox()
    var file = MemoryFile(3000)

    /// Sends a message, opens the file that it requests, and returns the replies.
    mutating func send(
        _ message: TFTPMessage, from client: TFTPClient = client(2000), opens: Bool = true
    ) -> [TFTPMessage] {
        server.receive(message.bytes.rawSpan, from: client, now: now, into: &outbox)
        if opens {
            for (number, _) in outbox.opens { server.opened(number, file, now: now, into: &outbox) }
            outbox.opens = []
        }
        return take()
    }

    mutating func take() -> [TFTPMessage] {
        defer { outbox.messages = [] }
        return outbox.messages.map(\.message)
    }

    mutating func wait() -> [TFTPMessage]? {
        guard let due = server.nextDeadline else { return nil }
        now = due
        server.tick(now: now, into: &outbox)
        return take()
    }

    /// Loads the whole file as a client that loses one message of `loses`, at random. Returns what it has.
    mutating func load(_ options: [TFTPOption] = [], window: Int = 1, loses: Int = .max) -> [UInt8] {
        var contents: [UInt8] = [], expected: UInt16 = 1,
            messages = send(.read(TFTPRequest("f", options)))
        var inWindow = 0, random = SeededGenerator(seed: UInt64(window))
        for _ in 0..<100_000 {
            if messages.isEmpty {
                guard let repeated = wait() else { return contents }
                messages = repeated
                continue
            }
            let message = messages.removeFirst()
            if loses < .max, Int.random(in: 0..<loses, using: &random) == 0 { continue }
            switch message {
            case .optionAcknowledgement: messages += send(.acknowledgement(block: 0))
            case .data(let block, let bytes) where block == expected:
                contents += bytes
                expected &+= 1
                inWindow += 1
                guard inWindow == window || messages.isEmpty else { continue }
                inWindow = 0
                messages = send(.acknowledgement(block: block))
                if server.count == 0 { return contents }
            case .data:
                // A gap: what is missing is requested again.
                inWindow = 0
                messages = send(.acknowledgement(block: expected &- 1))
            default: return contents
            }
        }
        return contents
    }
}

@Suite struct TFTPServerTests {
    @Test(arguments: [0, 1, 511, 512, 513, 1024, 3000, 100_000])
    func fileArrivesAsAWhole(size: Int) {
        var harness = TFTPHarness(file: MemoryFile(size))
        #expect(harness.load() == harness.file.contents)
        #expect(harness.server.count == 0 && harness.server.counters.completed == 1)
    }

    @Test(arguments: [5, 7, 20], [1, 4, 16])
    func fileArrivesInSpiteOfLosses(loses: Int, window: Int) {
        var harness = TFTPHarness(file: MemoryFile(40_000))
        #expect(harness.load([TFTPOption("windowsize", window)], window: window, loses: loses) == harness.file.contents)
    }

    @Test func blockNumbersContinueWithZero() {
        var harness = TFTPHarness(file: MemoryFile(8 * 70_000 + 3))
        #expect(harness.load([TFTPOption("blksize", 8)]).count == harness.file.size)
    }

    @Test func optionsAreNegotiated() {
        func reply(_ options: TFTPOption...) -> TFTPMessage? {
            var harness = TFTPHarness()
            return harness.send(.read(TFTPRequest("f", options))).first
        }
        #expect(reply(TFTPOption("blksize", 1024)) == .optionAcknowledgement([TFTPOption("blksize", 1024)]))
        #expect(
            reply(TFTPOption("blksize", 65_464)) == .optionAcknowledgement([TFTPOption("blksize", 1468)]),
            "what fits into a packet")
        #expect(
            reply(TFTPOption("tsize", 0), TFTPOption("timeout", 3))
                == .optionAcknowledgement([TFTPOption("tsize", 3000), TFTPOption("timeout", 3)]))
        #expect(reply(TFTPOption("windowsize", 500)) == .optionAcknowledgement([TFTPOption("windowsize", 16)]))
        for (name, value) in [
            ("blksize", 7), ("blksize", 65_465), ("timeout", 0), ("timeout", 256), ("windowsize", 0), ("x", 1),
        ] {
            guard case .data(block: 1, let bytes)? = reply(TFTPOption(name, value)) else {
                Issue.record("\(name) \(value)")
                continue
            }
            #expect(bytes.count == 512, "the option is ignored")
        }
    }

    @Test func clientThatNeverAcknowledgesGetsABoundedNumberOfBlocks() {
        var harness = TFTPHarness(file: MemoryFile(1_000_000))
        var sent = harness.send(.read(TFTPRequest("f", [TFTPOption("windowsize", 16)]))).count
        sent += harness.send(.acknowledgement(block: 0)).count
        while let messages = harness.wait() { sent += messages.count }
        #expect(sent == 1 + 6 * 16)
        #expect(harness.server.count == 0 && harness.server.counters.failed == 1)
    }

    @Test func repeatedAcknowledgementLeadsToNothing() {
        var harness = TFTPHarness()
        #expect(harness.send(.read(TFTPRequest("f"))).count == 1)
        #expect(harness.send(.acknowledgement(block: 1)).count == 1)
        for _ in 0..<100 { #expect(harness.send(.acknowledgement(block: 1)).isEmpty) }
        #expect(harness.send(.acknowledgement(block: 900)).isEmpty, "a block that was not sent")
    }

    @Test func repeatedRequestsAreBounded() {
        var harness = TFTPHarness()
        let sent = (0..<100).reduce(0) { sent, _ in
            sent + harness.send(.read(TFTPRequest("f"))).count { if case .data = $0 { true } else { false } }
        }
        #expect(sent <= 100 && harness.server.count <= 1)
    }

    @Test func guestHasEightTransfersAtATime() {
        var harness = TFTPHarness()
        for port in 0..<1000 {
            let replies = harness.send(.read(TFTPRequest("f")), from: client(UInt16(3000 + port)))
            if case .data(block: 1, _)? = replies.first { #expect(port < 8) } else { #expect(port >= 8) }
        }
        #expect(harness.server.count == 8)
        let other = harness.send(.read(TFTPRequest("f")), from: client(3000, guest: 2, ingress: 2))
        if case .data? = other.first {} else { Issue.record("another guest is served") }
    }

    @Test func portLeavesTransfersForOthers() {
        var harness = TFTPHarness()
        for guest in 0..<100 { _ = harness.send(.read(TFTPRequest("f")), from: client(3000, guest: guest)) }
        #expect(harness.server.count == 32)
        #expect(!harness.send(.read(TFTPRequest("f")), from: client(3000, guest: 200, ingress: 2)).isEmpty)
    }

    @Test func namesOutsideTheDirectoryAreRefused() {
        for name in ["", "/", "..", "../a", "a/../b", "a/..", ".", "a\u{7}", String(repeating: "a", count: 256)] {
            var harness = TFTPHarness()
            let replies = harness.send(.read(TFTPRequest(name)), opens: false)
            if case .error(2, _)? = replies.first {} else { Issue.record("\(name): \(replies)") }
            #expect(harness.outbox.opens.isEmpty && harness.server.count == 0)
        }
        for (name, path) in [
            ("/a", "a"), ("//a//b", "a/b"), ("./a", "a"), ("a/./b", "a/b"), ("..a", "..a"), ("a..b/c", "a..b/c"),
        ] {
            #expect(BootFileName.path(Array(name.utf8)) == Array(path.utf8), "\(name)")
        }
    }

    @Test func otherRequestsAreRefused() {
        var harness = TFTPHarness()
        if case .error(2, _)? = harness.send(.write(TFTPRequest("f"))).first {} else { Issue.record("a write") }
        if case .error(5, _)? = harness.send(.acknowledgement(block: 1)).first {} else { Issue.record("no transfer") }
        #expect(harness.send(.error(0, text: [])).isEmpty, "an error is never answered")
        #expect(harness.send(.data(block: 1, [1])).isEmpty)
        let netascii: [UInt8] = [0, 1, 97, 0] + Array("netascii".utf8) + [0]
        harness.server.receive(netascii.rawSpan, from: client(1), now: harness.now, into: &harness.outbox)
        if case .error(4, _)? = harness.take().first {} else { Issue.record("netascii") }
    }

    @Test func fileThatShrinksEndsItsTransfer() {
        var harness = TFTPHarness()
        _ = harness.send(.read(TFTPRequest("f")))
        harness.file.contents = []
        if case .error(0, _)? = harness.send(.acknowledgement(block: 1)).first {} else { Issue.record("an error") }
        #expect(harness.server.count == 0)
    }

    @Test func missingFileIsReported() {
        var harness = TFTPHarness()
        _ = harness.send(.read(TFTPRequest("f")), opens: false)
        let number = harness.outbox.opens[0].number
        harness.server.opened(
            number, nil, refusal: (.fileNotFound, "no such file"), now: harness.now, into: &harness.outbox)
        #expect(harness.take() == [.error(1, text: Array("no such file".utf8))])
        harness.server.opened(number, harness.file, now: harness.now, into: &harness.outbox)
        #expect(harness.take().isEmpty && harness.server.count == 0, "a late result has no effect")
    }

    @Test func guestWithoutItsLeaseLosesItsTransfers() {
        var harness = TFTPHarness()
        _ = harness.send(.read(TFTPRequest("f")))
        harness.server.retain { _ in false }
        #expect(harness.server.count == 0)
    }

    @Test func hostileDatagramsDoNotTrap() {
        var harness = TFTPHarness()
        let good = TFTPMessage.read(TFTPRequest("f", [TFTPOption("blksize", 512), TFTPOption("windowsize", 4)])).bytes
        var random = SeededGenerator(seed: 3)
        fuzz(good) { bytes in
            let from = client(UInt16.random(in: 1...9, using: &random), guest: Int.random(in: 1...99, using: &random))
            harness.server.receive(bytes.rawSpan, from: from, now: harness.now, into: &harness.outbox)
            for (number, _) in harness.outbox.opens {
                harness.server.opened(
                    number, number % 3 == 0 ? nil : harness.file, now: harness.now, into: &harness.outbox)
            }
            harness.outbox = .init()
            #expect(harness.server.count <= TFTPServer<MemoryFile>.maximumTransfers)
            harness.now = harness.now + .milliseconds(10)
            harness.server.tick(now: harness.now, into: &harness.outbox)
        }
    }
}
