// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// Advertised windows and the memory behind them.
@Suite struct ReceiveWindowTests {
    /// Sends what the window allows, to a server that does not read. Returns how much that was.
    private func fill(_ guest: GuestPeer, _ harness: RelayHarness, from source: IPv4Address, _ mac: MACAddress) -> Int {
        var edge = guest.sndNxt &+ 16_384, sent = 0
        while true {
            let room = edge.distance(after: guest.sndNxt), length = min(1460, room)
            guard length > 0 else { return sent }
            harness.send(
                Fixture.segment(
                    guest.port, guest.remotePort, .ack, sequence: guest.sndNxt, acknowledgment: guest.rcvNxt,
                    payload: Fixture.pattern(length, from: sent), from: source, mac: mac))
            guest.sndNxt &+= UInt32(length)
            sent += length
            harness.poll()
            for segment in harness.segments() where segment.port == guest.port {
                // Nothing inside the window was dropped.
                #expect(segment.acknowledgment == guest.sndNxt || length == 1460)
                edge = segment.acknowledgment &+ UInt32(segment.window) << 7
            }
        }
    }

    /// Uploads to servers that do not read fill the memory, and no further: windows close, nothing is dropped.
    @Test func promisedWindowsHaveMemory() throws {
        let (server, port) = try RelayHarness.server()
        let limit = 4 << 20
        let harness = try RelayHarness(memory: limit)
        var guests: [(GuestPeer, Int)] = []
        for number in UInt16(0)..<24 {
            let guest = try GuestPeer(harness, server, port, port: 5000 + number)
            // The server's buffer shall not take much.
            guests.append((guest, fill(guest, harness, from: Fixture.guest, Fixture.mac)))
            #expect(
                harness.relay.context.memory.charged <= limit / 2, "one guest gets half")
        }
        let bound = limit / 2 + guests.count * 2 * StreamBuffer.minimumCapacity
        #expect(harness.relay.memoryUsed <= bound, "\(harness.relay.memoryUsed)")
        // All that was sent is there, or in the sockets.
        for (guest, sent) in guests {
            var received: [UInt8] = []
            try guest.run("all of it") {
                guest.peer.drain(into: &received)
                return received.count >= sent
            }
            #expect(received == Fixture.pattern(sent))
        }
        #expect(harness.relay.retransmissions == 0)
        for (guest, _) in guests { guest.send(.rst) }
        harness.poll()
        #expect(harness.relay.context.memory.charged == 0 && harness.relay.memoryUsed == 0)
    }

    @Test func guestsHaveSharesOfTheMemory() {
        var budget = BufferBudget(limit: 8 << 20)
        let one = GuestOwner.port(1), two = GuestOwner.port(2)
        func grab(_ owner: GuestOwner) -> Int {
            var count = 0
            while budget.grow(from: 16 << 10, to: 1 << 20, by: owner) { count += 1 }
            return count
        }
        #expect(grab(one) == 4 && grab(two) == 2, "a half, and half of the rest")
        let isFree = budget.grow(from: 4096, to: 16 << 10, by: one)
        #expect(isFree, "the first 16 KiB are free")
        for _ in 0..<4 { budget.shrink(from: 1 << 20, to: 16 << 10, by: one) }
        for _ in 0..<2 { budget.shrink(from: 1 << 20, to: 0, by: two) }
        #expect(budget.charged == 0)
    }

    @Test func windowGrowsWithWhatAGuestSends() {
        var budget = BufferBudget(limit: 64 << 20), window = ReceiveWindow(), next: UInt32 = 0
        let owner = GuestOwner.port(1)
        func adapt(_ more: Int, _ window: inout ReceiveWindow, taken: Int = 0, _ now: Int64) {
            next &+= UInt32(more)
            window.adapt(
                to: next, upTo: 1 << 20, taken: taken, capacity: 0, &budget, by: owner, now: .seconds(now))
        }
        window.open(&budget, by: owner)
        #expect(window.size == 64 << 10)
        for second in Int64(1)...50 { adapt(20_000, &window, second) }
        #expect(window.size == 64 << 10, "requests do not make it grow")
        for _ in 0..<2 { adapt(20_000, &window, 50) }
        #expect(window.size == 256 << 10)
        for _ in 0..<10 { adapt(20_000, &window, 50) }
        #expect(window.size == 1 << 20 && window.goal == 1 << 20)
        // Memory becomes scarce: it is taken back from a guest that does not use it, when that has sent enough.
        while budget.grow(from: 0, to: 1 << 20, by: owner) {}
        adapt(100, &window, taken: 1 << 20, 51)
        #expect(window.goal == 1 << 20, "it has used it in the second before")
        adapt(100, &window, taken: 1 << 20, 52)
        #expect(window.size == 1 << 20 && window.goal == 256 << 10)
        adapt(100, &window, taken: 300_000, 52)
        #expect(window.size == 1 << 20)
        adapt(100, &window, taken: 200_000, 52)
        #expect(window.size == 256 << 10 && window.goal == 256 << 10)
        // A second connection begins with the least.
        var late = ReceiveWindow()
        late.open(&budget, by: owner)
        #expect(late.size == 16 << 10)
        late.shrink(to: 0, &budget, by: owner)
        #expect(late.size == 0)
    }

    /// RFC 9293 section 3.8.6.2.2: a server that reads a few bytes at a time does not open the window by as many.
    @Test func windowOpensBySegmentsOnly() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness(memory: 0)
        let guest = try GuestPeer(harness, server, port)
        let sent = fill(guest, harness, from: Fixture.guest, Fixture.mac)
        var edge = guest.sndNxt, received = 0
        while received < sent {
            received += (try? guest.peer.socket.receive(limit: 400))?.count ?? 0
            harness.poll()
            guest.send(.ack, at: guest.sndNxt &- 1)
            harness.poll()
            for segment in harness.segments() {
                let next = segment.acknowledgment &+ UInt32(segment.window) << 7, step = next.distance(after: edge)
                #expect(step == 0 || step >= 1408, "\(step)")
                edge = next
            }
        }
        #expect(edge.distance(after: guest.sndNxt) >= 8192)
    }

    @Test func freedMemoryIsReportedOnce() {
        var budget = BufferBudget(limit: 64 << 20)
        budget.take(20 << 20)
        var reports = [budget.takeRelease()]
        for _ in 0..<2 {
            budget.release(10 << 20)
            reports.append(budget.takeRelease())
        }
        reports.append(budget.takeRelease())
        #expect(reports == [false, false, true, false])
    }
}
