// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@testable import Capture

@Suite struct PcapngTests {
    /// A file with two interfaces, three frames, and counters.
    private static func example(name: String = "port 1") -> [UInt8] {
        var writer = PcapngWriter()
        writer.sectionHeader(application: "test")
        writer.interface(name: name, description: "a guest", snapLength: 262_144)
        let long = [UInt8](repeating: 7, count: 61), short: [UInt8] = [1, 2, 3], none: [UInt8] = []
        writer.packet(
            long.rawSpan, interface: 0, time: 1_700_000_000_123_456_789, length: 61,
            direction: .inbound, comment: nil)
        writer.interface(name: "uplink", description: "", snapLength: 262_144)
        writer.packet(
            short.rawSpan, interface: 1, time: 1_700_000_000_123_456_790, length: 65_000, direction: .outbound,
            comment: "dropped: \(name)")
        writer.packet(none.rawSpan, interface: 0, time: 0, length: 0, direction: .inbound, comment: nil)
        writer.statistics(CaptureStatistics(interface: 0, received: 5, lost: 3), time: 1)
        writer.statistics(CaptureStatistics(interface: 1, received: 1 << 40, lost: 1 << 33), time: 1)
        return writer.bytes
    }

    @Test func blocksHaveTheirLengthTwice() {
        let bytes = PcapngTests.example()
        var position = 0, types: [UInt32] = []
        while position < bytes.count {
            func word(_ offset: Int) -> UInt32 {
                (0..<4).reduce(0) { $0 | UInt32(bytes[position + offset + $1]) << UInt32(8 * $1) }
            }
            let length = Int(word(4))
            #expect(length % 4 == 0 && word(length - 4) == UInt32(length))
            types.append(word(0))
            position += length
        }
        #expect(position == bytes.count)
        #expect(types == [0x0a0d_0d0a, 1, 6, 1, 6, 6, 5, 5])
    }

    @Test func readerReturnsWholeBlocksHoweverTheyArrive() throws {
        let bytes = PcapngTests.example()
        for size in [1, 2, 3, 7, 64, bytes.count] {
            var splitter = PcapngSplitter(), whole: [UInt8] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                whole += try splitter.append(Array(bytes[start..<min(start + size, bytes.count)]))
            }
            #expect(whole == bytes)
            #expect(splitter.frames == 3)
            #expect(splitter.lost == 3 + 1 << 33)
            #expect(splitter.statistics[1]?.received == 1 << 40)
        }
    }

    @Test func readerKeepsPartOfBlockBack() throws {
        let bytes = PcapngTests.example()
        var ends: Set<Int> = [0]
        for length in 0...bytes.count {
            var splitter = PcapngSplitter()
            let whole = try splitter.append(Array(bytes.prefix(length)))
            #expect(whole == Array(bytes.prefix(whole.count)))
            ends.insert(whole.count)
        }
        #expect(ends.count == 9, "eight blocks")
    }

    @Test func readerRefusesOtherBytes() {
        var splitter = PcapngSplitter()
        #expect(throws: PcapngSplitter.Malformed.self) { try splitter.append(Array("HTTP/1.1 400 ".utf8)) }
        fuzz(PcapngTests.example(), rounds: 5000) { bytes in
            var splitter = PcapngSplitter()
            let whole = try? splitter.append(bytes)
            #expect((whole?.count ?? 0) <= bytes.count)
        }
    }

    /// Names that guests have chosen.
    @Test(arguments: ["\u{1b}[31m\"\n'`<b>", String(repeating: "ä", count: 2000), "\u{0}", "", "\u{2028}\u{9b}31m"])
    func hostileNamesAreOneShortLine(name: String) throws {
        let bytes = PcapngTests.example(name: name)
        var splitter = PcapngSplitter()
        #expect(try splitter.append(bytes) == bytes)
        #expect(splitter.frames == 3)
        #expect(!bytes.contains(0x1b) && bytes.count < 4000)
    }
}
