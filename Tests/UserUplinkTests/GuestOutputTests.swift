// SPDX-License-Identifier: Apache-2.0
import Testing
@testable import UserUplink
import Wire

@Suite struct GuestOutputTests {
    private func append(_ length: Int, _ value: UInt8, to output: GuestOutput) {
        output.append(length: length) { for place in 0..<length { $0.put8(value, at: place) } }
    }

    private func heard(_ ears: Ears) -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let frame = ears.take() { frames.append(Array(frame[VirtioNetHeader.length...])) }
        return frames
    }

    @Test func framesAreSentWhenThereAreEnough() {
        let ears = Ears(), output = GuestOutput(to: ears, mtu: 65_520)
        append(59_999, 1, to: output)
        #expect(heard(ears).isEmpty)
        append(1, 2, to: output)
        #expect(heard(ears) == [[UInt8](repeating: 1, count: 59_999), [2]])
        for number in 0..<63 as Range<UInt8> { append(60, number, to: output) }
        #expect(heard(ears).isEmpty)
        append(60, 63, to: output)
        #expect(heard(ears).map { $0[0] } == Array(0..<64))
    }

    @Test func orWhenTheyAreAskedFor() {
        let ears = Ears(), output = GuestOutput(to: ears, mtu: 1500)
        output.send()
        append(60, 1, to: output)
        output.send()
        output.send()
        #expect(heard(ears) == [[UInt8](repeating: 1, count: 60)])
    }

    @Test func offloadsStayWithTheirFrames() {
        let ears = Ears(), output = GuestOutput(to: ears, mtu: 1500)
        var offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.checksumStart = 34
        offload.checksumOffset = 16
        output.append(length: 60, offload) { $0.put8(1, at: 0) }
        append(60, 2, to: output)
        output.send()
        #expect(ears.take().flatMap { VirtioNetHeader(parsing: $0.rawSpan) } == offload)
        #expect(ears.take().flatMap { VirtioNetHeader(parsing: $0.rawSpan) } == VirtioNetHeader())
    }
}
