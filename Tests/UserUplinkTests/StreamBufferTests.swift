// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
@testable import UserUplink
import Wire

@Suite struct StreamBufferTests {
    private func bytes(_ start: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 + start) &* 31 &+ ($0 + start) >> 8) }
    }

    private func content(_ buffer: borrowing StreamBuffer, _ range: Range<Int>) -> [UInt8] {
        var copy = [UInt8](repeating: 0, count: range.count)
        copy.withMutableRawSpan { buffer.copy(range, to: &$0, at: 0) }
        return copy
    }

    @Test func bytesKeepTheirPositions() {
        var random = SeededGenerator(seed: 4), memory = BufferBudget(limit: 64 << 20)
        var buffer = StreamBuffer(), start = 0, count = 0
        // The range after `count` that was received out of order.
        var early: Range<Int>?
        for _ in 0..<4000 {
            switch Int.random(in: 0..<4, using: &random) {
            case 0, 1:
                let length = Int.random(in: 1...20_000, using: &random)
                guard early == nil, buffer.reserve(count + length, &memory) >= count + length else { continue }
                buffer.write(bytes(start + count, length).rawSpan, at: count)
                buffer.extend(length)
                count += length
            case 2:
                if let part = early {
                    // The missing bytes arrive.
                    buffer.write(bytes(start + count, part.lowerBound).rawSpan, at: count)
                    buffer.extend(part.upperBound)
                    count += part.upperBound
                    early = nil
                } else {
                    let part = 10..<Int.random(in: 11...9000, using: &random)
                    guard buffer.reserve(count + part.upperBound, &memory) >= count + part.upperBound else { continue }
                    buffer.write(
                        bytes(start + count + part.lowerBound, part.count).rawSpan, at: count + part.lowerBound)
                    early = part
                }
            default:
                let length = Int.random(in: 0...count, using: &random)
                buffer.discard(length)
                start += length
                count -= length
                // Out-of-order bytes keep their offset when the memory grows.
                _ = buffer.reserve(min(StreamBuffer.maximumCapacity, buffer.capacity + 1), &memory)
            }
            #expect(buffer.count == count)
            let lower = Int.random(in: 0...count, using: &random)
            let upper = min(count, lower + 500)
            #expect(content(buffer, lower..<upper) == bytes(start + lower, upper - lower))
        }
        #expect(memory.used == buffer.capacity)
        buffer.clear(&memory)
        #expect(memory.used == 0 && buffer.capacity == 0)
    }

    @Test func bufferSendsToAndReceivesFromSockets() throws {
        let pair = try DescriptorPair.streamSockets()
        var memory = BufferBudget(limit: 8 << 20), from = StreamBuffer(), to = StreamBuffer()
        let length = 1 << 20
        #expect(from.reserve(length, &memory) == length && to.reserve(length, &memory) == length)
        // Across the end of the memory.
        from.extend(1000)
        from.discard(1000)
        from.write(bytes(0, length).rawSpan, at: 0)
        from.extend(length)
        var result: Int32 = 0
        for _ in 0..<10_000 where to.count < length {
            result = from.send(to: pair.first.raw)
            #expect(result == 0 || result == Errno.again)
            while to.receive(from: pair.second.raw) > 0 {}
        }
        #expect(from.count == 0 && to.count == length)
        #expect(content(to, 0..<length) == bytes(0, length))
        #expect(to.receive(from: pair.second.raw) == -Int(Errno.noBuffers))
        to.discard(10)
        #expect(to.receive(from: pair.second.raw) == -Int(Errno.again))
    }

    @Test func budgetBoundsAllButMinimalBuffers() {
        var memory = BufferBudget(limit: 100 << 10), first = StreamBuffer(), second = StreamBuffer()
        #expect(first.reserve(60 << 10, &memory) == 64 << 10)
        #expect(first.reserve(70 << 10, &memory) == 64 << 10, "no more for now")
        #expect(second.reserve(1, &memory) == StreamBuffer.minimumCapacity)
        #expect(second.reserve(60 << 10, &memory) == StreamBuffer.minimumCapacity)
        first.clear(&memory)
        #expect(second.reserve(60 << 10, &memory) == 64 << 10)
        second.clear(&memory)
    }
}
