// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a listener cannot be created. The description names the path, the cause and the next step.
package struct ListenerError: Error, Sendable, CustomStringConvertible {
    /// The kind of failure, from which `Sessions` derives the exit status.
    package enum Cause: Equatable, Sendable {
        /// Another process serves the socket.
        case occupied
        /// The path exists, and this process must not replace it.
        case notOurs
        /// The descriptor or the path cannot be a listener.
        case unsuitable
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
        let (kind, text) = error.obstacle(choosing: "a path in a directory of yours")
        let causes: [SystemError.Obstacle: Cause] = [.rights: .permissionDenied, .length: .unsuitable]
        self.init(causes[kind] ?? .system, text)
    }
}
