// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A system call that failed: what was tried, on what, and why.
package struct SystemError: Error, Equatable, Sendable {
    /// A positive errno.
    package let code: Int32
    /// The call, such as `connect`.
    package let operation: String
    /// What it was applied to: a path, an interface; may be empty.
    package let subject: String

    package init(code: Int32, _ operation: String, _ subject: String = "") {
        self.code = code
        self.operation = operation
        self.subject = subject
    }

    /// The system's words for the error.
    package var reason: String { unsafe String(cString: strerror(code)) }

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
    package var description: String { (subject.isEmpty ? operation : operation + " " + subject) + ": " + reason }
}

extension SystemError {
    /// No room is left, on the disk or for this user.
    package var isFullDisk: Bool { code == ENOSPC || code == EDQUOT }

    /// Why something cannot be made at a path, as far as what to do about it differs.
    package enum Obstacle: Equatable, Sendable {
        case rights
        case length
        case other
    }

    /// The same in words, with the next step.
    /// - Parameter choice: what to choose where one has the right to, such as "a directory of yours".
    package func obstacle(choosing choice: String) -> (kind: Obstacle, text: String) {
        switch code {
        case Errno.accessDenied, Errno.notPermitted, Errno.readOnly:
            (.rights, "\(self); choose \(choice), such as one in /tmp or $XDG_RUNTIME_DIR")
        case Errno.noEntry: (.other, "\(self); the directory above it must exist")
        case Errno.nameTooLong: (.length, "\(self); choose a shorter path")
        default: (.other, description)
        }
    }
}

/// The errno values that decisions are taken on, so that no other file needs the C library's names.
@usableFromInline
package enum Errno {
    /// The error of the C function that was called last.
    @inlinable package static var last: Int32 { platform_errno() }
    @usableFromInline package static var again: Int32 { EAGAIN }
    package static var noBuffers: Int32 { ENOBUFS }
    package static var noEntry: Int32 { ENOENT }
    package static var refused: Int32 { ECONNREFUSED }
    package static var connectionAborted: Int32 { ECONNABORTED }
    package static var protocolError: Int32 { EPROTO }
    package static var reset: Int32 { ECONNRESET }
    package static var notConnected: Int32 { ENOTCONN }
    package static var destinationRequired: Int32 { EDESTADDRREQ }
    package static var notPermitted: Int32 { EPERM }
    package static var accessDenied: Int32 { EACCES }
    package static var addressInUse: Int32 { EADDRINUSE }
    package static var addressNotAvailable: Int32 { EADDRNOTAVAIL }
    package static var exists: Int32 { EEXIST }
    package static var busy: Int32 { EBUSY }
    package static var isDirectory: Int32 { EISDIR }
    package static var notDirectory: Int32 { ENOTDIR }
    package static var inProgress: Int32 { EINPROGRESS }
    package static var messageTooLong: Int32 { EMSGSIZE }
    package static var nameTooLong: Int32 { ENAMETOOLONG }
    package static var timedOut: Int32 { ETIMEDOUT }
    package static var networkUnreachable: Int32 { ENETUNREACH }
    package static var hostUnreachable: Int32 { EHOSTUNREACH }
    package static var noDevice: Int32 { ENODEV }
    package static var noSuchDeviceOrAddress: Int32 { ENXIO }
    package static var notImplemented: Int32 { ENOSYS }
    package static var tooManyFiles: Int32 { EMFILE }
    package static var tableFull: Int32 { ENFILE }
    package static var noSuchProcess: Int32 { ESRCH }
    package static var invalid: Int32 { EINVAL }
    @usableFromInline package static var interrupted: Int32 { EINTR }
    package static var readOnly: Int32 { EROFS }
    package static var noSpace: Int32 { ENOSPC }
    package static var notSocket: Int32 { ENOTSOCK }
    package static var badDescriptor: Int32 { EBADF }
    package static var wrongType: Int32 { EPROTOTYPE }
    package static var notSupported: Int32 { ENOTSUP }
    package static var brokenPipe: Int32 { EPIPE }
    package static var ioError: Int32 { EIO }
}
