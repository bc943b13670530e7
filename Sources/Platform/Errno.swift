// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

/// The errno values that decisions depend on, so that no other file needs the C library's names. The names are those of
/// intro(2), written out.
@usableFromInline
package enum Errno {
    /// The error of the C function that was called last.
    @inlinable package static var last: Int32 { platform_errno() }
    @usableFromInline package static var again: Int32 { EAGAIN }
    package static var noBuffers: Int32 { ENOBUFS }
    package static var noMemory: Int32 { ENOMEM }
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
    package static var tooManyLinks: Int32 { ELOOP }
    package static var fileTooLarge: Int32 { EFBIG }
    package static var networkDown: Int32 { ENETDOWN }
    package static var hostDown: Int32 { EHOSTDOWN }
    package static var familyNotSupported: Int32 { EAFNOSUPPORT }
    package static var badMessage: Int32 { EBADMSG }
    #if os(Linux)
        /// The interface of a TAP's descriptor was removed.
        package static var interfaceRemoved: Int32 { EBADFD }
    #else
        /// The same elsewhere.
        package static var interfaceRemoved: Int32 { ENXIO }
    #endif
}
