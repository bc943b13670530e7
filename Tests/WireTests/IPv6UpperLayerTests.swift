// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct IPv6UpperLayerTests {
    /// An extension header: its number and its bytes, of which the first is the next header.
    private struct Extension {
        let number: UInt8
        var bytes: [UInt8]
    }

    private func packet(_ chain: [Extension], then number: UInt8, _ rest: [UInt8]) -> [UInt8] {
        var body: [UInt8] = []
        for (index, one) in chain.enumerated() {
            var bytes = one.bytes
            bytes[0] = index + 1 < chain.count ? chain[index + 1].number : number
            body += bytes
        }
        body += rest
        return [0x60, 0, 0, 0, UInt8(body.count >> 8), UInt8(body.count & 0xff), chain.first?.number ?? number, 255]
            + [UInt8](repeating: 1, count: 32) + body
    }

    private func random(_ generator: inout SeededGenerator) -> Extension {
        let number: UInt8 = [0, 43, 44, 51, 60, 135, 139, 140].randomElement(using: &generator)!
        switch number {
        case 44: return Extension(number: 44, bytes: [0, 0, 0, UInt8.random(in: 0...1, using: &generator), 1, 2, 3, 4])
        case 51:
            let words = UInt8.random(in: 0...8, using: &generator)
            return Extension(number: 51, bytes: [0, words] + generator.bytes((Int(words) + 2) * 4 - 2))
        default:
            let units = UInt8.random(in: 0...4, using: &generator)
            return Extension(number: number, bytes: [0, units] + generator.bytes((Int(units) + 1) * 8 - 2))
        }
    }

    @Test func randomExtensionChainsAreFollowedAndCutOnesAreNot() {
        var generator = SeededGenerator(seed: 7113)
        for _ in 0..<300 {
            let chain = (0..<Int.random(in: 0...16, using: &generator)).map { _ in random(&generator) }
            // Of eight bytes at least, or no kernel would read it.
            let valid = chain.allSatisfy { $0.bytes.count >= 8 }
            let whole = packet(chain, then: 58, [134, 0, 0, 0, 0, 0, 0, 0])
            let place = whole.count - 8
            if valid { #expect(IPv6UpperLayer(whole.rawSpan) == .header(58, at: place)) }
            for length in 0...whole.count {
                let found = IPv6UpperLayer(Array(whole.prefix(length)).rawSpan)
                if length < place {
                    #expect(found == .undetermined)
                } else if valid {
                    #expect(found == .header(58, at: place))
                }
            }
        }
    }

    @Test func longExtensionChainIsUndetermined() {
        let options = Extension(number: 60, bytes: [0, 0, 1, 4, 0, 0, 0, 0])
        #expect(
            IPv6UpperLayer(packet(Array(repeating: options, count: 16), then: 58, []).rawSpan)
                == .header(58, at: 40 + 16 * 8))
        #expect(IPv6UpperLayer(packet(Array(repeating: options, count: 17), then: 58, []).rawSpan) == .undetermined)
    }

    @Test func laterFragmentsAreRecognised() {
        let later = Extension(number: 44, bytes: [0, 0, 0, 9, 1, 2, 3, 4])
        let options = Extension(number: 60, bytes: [0, 0, 1, 4, 0, 0, 0, 0])
        #expect(IPv6UpperLayer(packet([options, later], then: 58, [134]).rawSpan) == .laterFragment)
    }

    @Test func bytesBehindThePacketArePadding() {
        var bytes = packet([], then: 58, [134, 0, 0, 0])
        #expect(IPv6UpperLayer.end(of: (bytes + [1, 2, 3]).rawSpan) == 44)
        bytes[5] = 200
        #expect(IPv6UpperLayer.end(of: bytes.rawSpan) == 44)
        bytes[5] = 0
        #expect(IPv6UpperLayer.end(of: (bytes + [1, 2, 3]).rawSpan) == 47)
    }

    @Test func fuzzedFramesAreReadWithinBounds() {
        let chain = [
            Extension(number: 0, bytes: [0, 1] + [UInt8](repeating: 0, count: 14)),
            Extension(number: 44, bytes: [0, 0, 0, 1, 1, 2, 3, 4]),
            Extension(number: 51, bytes: [0, 4] + [UInt8](repeating: 0, count: 22)),
        ]
        fuzz(packet(chain, then: 17, [0, 1, 2, 3, 4, 5, 6, 7])) { bytes in
            if case .header(_, let place) = IPv6UpperLayer(bytes.rawSpan) { #expect(place <= bytes.count) }
            if bytes.count >= 40 { #expect((40...bytes.count).contains(IPv6UpperLayer.end(of: bytes.rawSpan))) }
        }
    }
}
