// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a switch cannot be created. The message names the path, the cause and the next step.
package typealias SwitchError = DescribedError<SwitchFailure>

/// The kinds of failure to create a switch, from which `Sessions` derives the exit status.
package enum SwitchFailure: Equatable, Sendable {
    /// Another switch serves the directory.
    case occupied
    /// The path belongs to another user, or holds other files.
    case notOurs
    case pathTooLong
    case permissionDenied
    case system
}

extension SwitchError {
    init(_ error: SystemError) {
        self.init(
            error, choosing: "a directory of yours", permission: .permissionDenied, length: .pathTooLong,
            other: .system)
    }
}
