// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct ChecksumTests {
    /// RFC 1071's definition, word by word.
    private func plain(_ bytes: [UInt8], from initial: UInt32 = 0) -> UInt16 {
        var sum = initial
        for index in stride(from: 0, to: bytes.count, by: 2) {
            sum += UInt32(bytes[index]) << 8 | (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
            sum = (sum & 0xffff) + (sum >> 16)
        }
        return UInt16(sum)
    }

    @Test func rfc1071Example() {
        var sum = InternetChecksum()
        sum.add([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7].rawSpan)
        #expect(sum.folded == 0xddf2)
        #expect(sum.finished == ~0xddf2)
    }

    @Test func checksumMatchesDefinitionForEveryLengthAndAlignment() {
        var random = SeededGenerator(seed: 7)
        for length in 0...200 {
            let bytes = random.bytes(length)
            for start in 0..<min(9, length + 1) {
                var sum = InternetChecksum()
                sum.add(bytes.rawSpan.from(start))
                #expect(sum.folded == plain(Array(bytes[start...])), "length \(length), start \(start)")
            }
        }
    }

    @Test func largeFramesOfOnesDoNotOverflow() {
        let bytes = [UInt8](repeating: 0xff, count: 65_535)
        var sum = InternetChecksum()
        for _ in 0..<100 { sum.add(bytes.rawSpan.extracting(0..<65_534)) }
        #expect(sum.folded == 0xffff)
    }

    @Test func piecesAddUpToTheWhole() {
        var random = SeededGenerator(seed: 8)
        for _ in 0..<200 {
            let bytes = random.bytes(Int.random(in: 0...600, using: &random))
            let cut = Int.random(in: 0...bytes.count / 2, using: &random) * 2
            var whole = InternetChecksum(), pieces = InternetChecksum()
            whole.add(bytes.rawSpan)
            pieces.add(bytes.rawSpan.extracting(0..<cut))
            pieces.add(bytes.rawSpan.from(cut))
            #expect(whole.folded == pieces.folded)
        }
    }

    @Test func wordsAndPartialSumsCountInNetworkOrder() {
        var words = InternetChecksum(), bytes = InternetChecksum()
        words.add(word: 0x1234)
        words.add(long: 0x5678_9abc)
        bytes.add([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc].rawSpan)
        #expect(words.folded == bytes.folded)
        var resumed = InternetChecksum(partial: bytes.folded)
        resumed.add([0xde, 0xf0].rawSpan)
        bytes.add([0xde, 0xf0].rawSpan)
        #expect(resumed.folded == bytes.folded)
    }

    @Test func udpNeverSendsZero() {
        var sum = InternetChecksum()
        sum.add(word: 0xffff)
        #expect(sum.finished == 0)
        #expect(sum.finishedForUDP == 0xffff)
    }
}
