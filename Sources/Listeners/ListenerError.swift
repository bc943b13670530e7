// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a listener cannot be where it was asked to be: the thing, the cause, and what to do next.
package struct ListenerError: Error, Sendable, CustomStringConvertible {
    package enum Cause: Equatable, Sendable {
        /// Somebody serves it already.
        case occupied
        /// Something else is there.
        case notOurs
        /// The descriptor or the path is nothing to make a listener of.
        case unsuitable
        case permissionDenied
        case system
    }

    package let cause: Cause
    package let description: String

    init(_ cause: Cause, _ description: String) {
        self.cause = cause
        self.description = description
    }

    init(_ error: SystemError) {
        let (kind, text) = error.obstacle(choosing: "a path in a directory of yours")
        let causes: [SystemError.Obstacle: Cause] = [.rights: .permissionDenied, .length: .unsuitable]
        self.init(causes[kind] ?? .system, text)
    }
}
