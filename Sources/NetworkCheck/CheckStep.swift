// SPDX-License-Identifier: Apache-2.0
import Timing

/// One step of a check.
package struct CheckStep: Equatable {
    /// The raw values are part of `check --json`.
    package enum Outcome: String {
        case ok
        case failed
        /// The network does not offer it, and the user did not request it.
        case skipped
    }

    /// A fixed word that scripts compare, such as `lease`.
    package let name: String
    /// A check with a failed step ends with a failure.
    package let outcome: Outcome
    /// How long it took.
    package let duration: TimeAmount
    /// The result; for a failure the likely cause.
    package let detail: String
    /// Something to try; for failures only.
    package let remedy: String?

    package init(name: String, outcome: Outcome, duration: TimeAmount, detail: String, remedy: String? = nil) {
        self.name = name
        self.outcome = outcome
        self.duration = duration
        self.detail = detail
        self.remedy = remedy
    }
}
