// SPDX-License-Identifier: Apache-2.0

/// Why something cannot be done, for the user: a message of one sentence, and the kind of failure, by which callers
/// decide. The message names the subject, the cause and, after a semicolon, the next step.
package struct DescribedError<Cause: Equatable & Sendable>: Error, Equatable, Sendable, CustomStringConvertible {
    /// The kind of failure.
    package let cause: Cause
    /// Subject, cause and next step.
    package let description: String

    /// - Parameter description: subject, cause and next step.
    package init(_ cause: Cause, _ description: String) {
        self.cause = cause
        self.description = description
    }

    /// The message up to the first semicolon, and the next step after it, if there is one.
    package var parts: (failure: String, nextStep: String?) {
        let parts = description.split(separator: ";", maxSplits: 1)
        return (String(parts[0]), parts.count > 1 ? String(parts[1].drop { $0 == " " }) : nil)
    }

    /// For a file, socket or directory that cannot be made: the failed system call and the next step.
    /// - Parameters:
    ///   - choice: what the user should choose instead, such as "a directory of yours".
    ///   - permission: the cause if rights are missing, or the file system is read-only.
    ///   - length: the cause if the path is too long.
    ///   - other: every other cause.
    package init(_ error: SystemError, choosing choice: String, permission: Cause, length: Cause, other: Cause) {
        switch error.code {
        case Errno.accessDenied, Errno.notPermitted, Errno.readOnly:
            self.init(permission, "\(error); choose \(choice), such as one in /tmp or $XDG_RUNTIME_DIR")
        case Errno.noEntry: self.init(other, "\(error); the directory above it must exist")
        case Errno.nameTooLong: self.init(length, "\(error); choose a shorter path")
        default: self.init(other, error.explanation)
        }
    }
}

/// The cause of errors that all callers handle alike.
package struct UnclassifiedCause: Equatable, Sendable {
    /// The only value.
    package init() {}
}

/// An error that consists of its message.
package typealias UnclassifiedError = DescribedError<UnclassifiedCause>

extension UnclassifiedError {
    /// - Parameter description: subject, cause and next step.
    package init(_ description: String) { self.init(UnclassifiedCause(), description) }
}
