// SPDX-License-Identifier: Apache-2.0
import CLibrary

/// A failed system call: the operation, its subject and the errno.
package struct SystemError: Error, Equatable, Sendable {
    /// A positive errno.
    package let code: Int32
    /// The call, such as `connect`.
    package let operation: String
    /// The object of the operation, such as a path or an interface; may be empty.
    package let subject: String

    package init(code: Int32, _ operation: String, _ subject: String = "") {
        self.code = code
        self.operation = operation
        self.subject = subject
    }

    /// The value that a function of CPlatform returned; throws if it is a negative errno.
    @discardableResult
    package static func check<Value: SignedInteger>(
        _ value: Value, _ operation: String, _ subject: @autoclosure () -> String = ""
    ) throws(SystemError) -> Value {
        if value < 0 { throw SystemError(code: Int32(-value), operation, subject()) }
        return value
    }

    /// The value that a POSIX function returned; throws `errno` if it is negative.
    @discardableResult
    package static func checkErrno<Value: SignedInteger>(
        _ value: Value, _ operation: String, _ subject: @autoclosure () -> String = ""
    ) throws(SystemError) -> Value {
        if value < 0 { throw SystemError(code: Errno.last, operation, subject()) }
        return value
    }
}

extension SystemError: CustomStringConvertible {
    /// `connect /tmp/vde/ctl: No such file or directory`
    package var description: String {
        (subject.isEmpty ? operation : operation + " " + PrintableText.line(subject, limit: 4096)) + ": " + reason
    }
}

extension SystemError {
    /// The disk or the user's quota is full.
    package var isFullDisk: Bool { code == ENOSPC || code == EDQUOT }

    /// The file system takes no more files, or no change at all: another one may.
    package var isOfFileSystem: Bool { isFullDisk || code == EROFS }

    /// What ends an error that comes from a lack of something, whatever was to be done; nil for other errors.
    package var remedyOfLack: String? {
        switch code {
        case ENOSPC, EDQUOT: "make room on that disk"
        case EROFS: "make that file system writable (mount -o remount,rw)"
        case EMFILE: "raise the limit of open files (ulimit -n, LimitNOFILE=)"
        case ENFILE: "raise the system's limit of open files (sysctl fs.file-max)"
        default: nil
        }
    }

    /// The description, and what ends the error if that is known without what was to be done.
    package var explanation: String { remedyOfLack.map { "\(self); \($0)" } ?? description }

    /// The error with a subject, if it has none, as one of a call that gets a descriptor.
    package func about(_ subject: String) -> SystemError {
        self.subject.isEmpty ? SystemError(code: code, operation, subject) : self
    }
}
