// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a listener cannot be created. The message names the path, the cause and the next step.
package typealias ListenerError = DescribedError<ListenerFailure>

/// The kinds of failure to create a listener, from which `Sessions` derives the exit status.
package enum ListenerFailure: Equatable, Sendable {
    /// Another process serves the socket.
    case occupied
    /// The path exists, and this process must not replace it.
    case notOurs
    /// The descriptor or the path cannot be a listener.
    case unsuitable
    case permissionDenied
    case system
}

extension ListenerError {
    init(_ error: SystemError) {
        self.init(
            error, choosing: "a path in a directory of yours", permission: .permissionDenied, length: .unsuitable,
            other: .system)
    }
}
