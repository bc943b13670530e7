// SPDX-License-Identifier: Apache-2.0

/// Random numbers that are the same in every run with one seed (SplitMix64, Steele et al. 2014), so that a failure can
/// be reproduced.
package struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    package mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }
}

/// Feeds a parser hostile input: random bytes, and a good packet cut, stretched and changed in random places. The
/// parser passes if it returns or throws; reading past the end would trap.
/// - Parameter rounds: of everyday tests; `Rounds.factor` multiplies them.
package func fuzz(_ good: [UInt8], rounds: Int = 20_000, seed: UInt64 = 1, _ parse: ([UInt8]) -> Void) {
    var random = SeededGenerator(seed: seed)
    for round in 0..<Rounds.of(rounds) {
        var bytes = good
        switch round % 4 {
        case 0:
            bytes = random.bytes(Int.random(in: 0...max(64, good.count), using: &random))
        case 1:
            bytes = Array(good.prefix(Int.random(in: 0...good.count, using: &random)))
        default:
            if round % 4 == 3 { bytes += random.bytes(Int.random(in: 0...32, using: &random)) }
            for _ in 0..<Int.random(in: 1...6, using: &random) where !bytes.isEmpty {
                let value: UInt8 = [0, 1, 0x7f, 0x80, 0xff, UInt8.random(in: 0...255, using: &random)].randomElement(
                    using: &random)!
                bytes[Int.random(in: bytes.indices, using: &random)] = value
            }
        }
        parse(bytes)
    }
}
