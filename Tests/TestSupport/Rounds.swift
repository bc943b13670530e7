// SPDX-License-Identifier: Apache-2.0
import Platform

/// How often tests with random input repeat: `make prove` sets VDE_VMNET_ROUNDS to a factor, 1 by default.
package enum Rounds {
    /// The factor.
    package static let factor = max(1, CurrentProcess.environment("VDE_VMNET_ROUNDS").flatMap { Int($0) } ?? 1)

    /// `count` rounds of everyday tests, times the factor.
    package static func of(_ count: Int) -> Int { count * factor }

    /// The seeds from 0 on of as many rounds.
    package static func seeds(_ count: Int) -> Range<UInt64> { 0..<UInt64(of(count)) }
}
