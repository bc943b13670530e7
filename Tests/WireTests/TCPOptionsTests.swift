// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct TCPOptionsTests {
    private func segment(_ options: [UInt8]) -> [UInt8] {
        let padded = options + [UInt8](repeating: 0, count: (4 - options.count % 4) % 4)
        return [UInt8](repeating: 0, count: 12) + [UInt8((20 + padded.count) / 4) << 4]
            + [UInt8](repeating: 0, count: 7) + padded
    }

    private func parse(_ options: [UInt8]) throws -> (options: TCPOptions, selective: [UInt32]) {
        let bytes = segment(options)
        let view = try TCPView(bytes.rawSpan)
        var parts: [UInt32] = []
        TCPOptions.selective(view) { parts += [$0, $1] }
        return (TCPOptions(view), parts)
    }

    @Test func relevantOptionsAreRead() throws {
        let all = try parse([2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7]).options
        #expect(all.maximumSegment == 1460 && all.windowScale == 7 && all.permitsSelective)
        #expect(try parse([3, 3, 99]).options.windowScale == 14, "more is taken for 14 (RFC 7323 section 2.3)")
        #expect(try parse([]).options == TCPOptions())
        #expect(try parse([1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 9]).selective == [1, 2, 5, 9])
    }

    @Test(
        arguments: [
            [2, 3, 5], [1, 1, 1, 1, 1, 2, 4, 5], [3, 0], [3, 1], [4, 3, 0, 3, 4, 1, 1], [0, 2, 4, 5, 0xb4], [253, 200],
            [2],
        ] as [[UInt8]])
    func contradictoryOptionsAreIgnored(options: [UInt8]) throws {
        let parsed = try parse(options)
        #expect(parsed.options == TCPOptions() && parsed.selective.isEmpty)
    }

    @Test func incompletePartIsIgnored() throws {
        #expect(try parse([5, 9, 0, 0, 0, 1, 0, 0, 0]).selective.isEmpty)
        #expect(try parse([5, 14, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 7]).selective == [1, 3])
    }

    @Test func writerAcceptsAnyBytes() {
        fuzz(segment([2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9])) { bytes in
            guard let view = try? TCPView(bytes.rawSpan) else { return }
            _ = TCPOptions(view)
            TCPOptions.selective(view) { _, _ in }
        }
    }
}
