// SPDX-License-Identifier: Apache-2.0
import Testing
@testable import UserUplink
import Wire

@Suite struct GuestOutputTests {
    private func append(_ length: Int, _ value: UInt8, to output: GuestOutput) {
        output.append(length: length) { for place in 0..<length { $0.put8(value, at: place) } }
    }

    private func received(_ recorder: FrameRecorder) -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let frame = recorder.take() { frames.append(Array(frame[VirtioNetHeader.length...])) }
        return frames
    }

    @Test func fullBatchIsFlushed() {
        let recorder = FrameRecorder(), output = GuestOutput(to: recorder, mtu: 65_520)
        append(59_999, 1, to: output)
        #expect(received(recorder).isEmpty)
        append(1, 2, to: output)
        #expect(received(recorder) == [[UInt8](repeating: 1, count: 59_999), [2]])
        for number in 0..<63 as Range<UInt8> { append(60, number, to: output) }
        #expect(received(recorder).isEmpty)
        append(60, 63, to: output)
        #expect(received(recorder).map { $0[0] } == Array(0..<64))
    }

    @Test func flushSendsPartialBatch() {
        let recorder = FrameRecorder(), output = GuestOutput(to: recorder, mtu: 1500)
        output.flush()
        append(60, 1, to: output)
        output.flush()
        output.flush()
        #expect(received(recorder) == [[UInt8](repeating: 1, count: 60)])
    }

    @Test func offloadStaysWithItsFrame() {
        let recorder = FrameRecorder(), output = GuestOutput(to: recorder, mtu: 1500)
        var offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.checksumStart = 34
        offload.checksumOffset = 16
        output.append(length: 60, offload) { $0.put8(1, at: 0) }
        append(60, 2, to: output)
        output.flush()
        #expect(recorder.take().flatMap { VirtioNetHeader(parsing: $0.rawSpan) } == offload)
        #expect(recorder.take().flatMap { VirtioNetHeader(parsing: $0.rawSpan) } == VirtioNetHeader())
    }
}
