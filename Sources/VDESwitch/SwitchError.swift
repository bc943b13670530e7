// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a switch cannot be created. The description names the path, the cause and the next step.
package struct SwitchError: Error, Sendable, CustomStringConvertible {
    /// The kind of failure, from which `Sessions` derives the exit status.
    package enum Cause: Equatable, Sendable {
        /// Another switch serves the directory.
        case occupied
        /// The path belongs to another user, or holds other files.
        case notOurs
        case pathTooLong
        case permissionDenied
        case system
    }

    /// The kind of failure.
    package let cause: Cause
    package let description: String

    init(_ cause: Cause, _ description: String) {
        self.cause = cause
        self.description = description
    }

    init(_ error: SystemError) {
        let (kind, text) = error.obstacle(choosing: "a directory of yours")
        let causes: [SystemError.Obstacle: Cause] = [.rights: .permissionDenied, .length: .pathTooLong]
        self.init(causes[kind] ?? .system, text)
    }
}
