// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct DHCPSearchListTests {
    private func name(_ text: String) -> DNSName { DNSName(text)! }

    private func list(_ names: [String]) -> DHCPSearchList {
        var list = DHCPSearchList()
        for one in names { #expect(list.append(name(one)) == true) }
        return list
    }

    /// The example of RFC 3397 section 2.
    @Test func namesAreCompressed() {
        let bytes = list(["eng.apple.com", "marketing.apple.com"]).bytes
        #expect(
            bytes == [3] + Array("eng".utf8) + [5] + Array("apple".utf8) + [3] + Array("com".utf8) + [0, 9]
                + Array("marketing".utf8) + [0xc0, 4])
        #expect(DHCPSearchList.names(in: bytes) == [name("eng.apple.com"), name("marketing.apple.com")])
    }

    @Test func repeatedNamesAndSuffixesArePointers() {
        let names = ["a.b.example", "b.example", "B.EXAMPLE", "example", "c.b.example"]
        let bytes = list(names).bytes
        #expect(bytes.count == 13 + 2 + 2 + 2 + 4 && DHCPSearchList.names(in: bytes) == names.map(name))
    }

    @Test func listHasRoomForWholeNames() {
        var list = DHCPSearchList()
        #expect(!list.append(name("a.example"), room: 12) && list.bytes.isEmpty)
        #expect(list.append(name("a.example"), room: 13) == true)
        #expect(!list.append(name("b.example"), room: 16) && list.append(name("b.example"), room: 17))
        // After 255 bytes, a second piece has two more.
        var long = DHCPSearchList()
        for index in 0..<4 { #expect(long.append(name(String(repeating: "\(index)", count: 61)), room: 1000) == true) }
        #expect(long.bytes.count == 252 && !long.append(name("abc"), room: 260) && long.append(name("abc"), room: 261))
    }

    /// No pointer reaches further than its 14 bits.
    @Test func longListsAreReadBack() {
        var random = SeededGenerator(seed: 97)
        let labels = (0..<60).map { "label\($0)" }
        for round in 0..<Rounds.of(40) {
            let names = (0..<(round % 4 == 0 ? 2000 : 20)).map { _ in
                (0..<Int.random(in: 1...5, using: &random)).map { _ in labels.randomElement(using: &random)! }
                    .joined(separator: ".")
            }
            #expect(DHCPSearchList.names(in: list(names).bytes) == names.map(name))
        }
    }

    @Test func otherBytesAreNoList() {
        #expect(DHCPSearchList.names(in: []) == [])
        for bytes in [[1], [1, 97], [0xc0, 0], [1, 97, 0, 0xc0, 9], [0x40, 0]] as [[UInt8]] {
            #expect(DHCPSearchList.names(in: bytes) == nil, "\(bytes)")
        }
    }
}
