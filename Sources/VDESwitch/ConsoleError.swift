// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a console command failed: the errno that vde_switch answers with.
package struct ConsoleError: Error, Equatable, Sendable {
    /// The errno, which the answer shows in three digits.
    package let code: Int32

    /// An argument is missing, malformed or out of range.
    package static let invalid = ConsoleError(code: Errno.invalid)
    /// The port or VLAN exists already.
    package static let exists = ConsoleError(code: Errno.exists)
    /// No such port or VLAN.
    package static let noSuch = ConsoleError(code: Errno.noSuchDeviceOrAddress)
    /// No such address.
    package static let notFound = ConsoleError(code: Errno.noDevice)
    /// The port has connections, the VLAN has ports, or ports above a new limit exist.
    package static let inUse = ConsoleError(code: Errno.addressInUse)
    /// All port numbers are in use.
    package static let noSpace = ConsoleError(code: Errno.noSpace)
    /// No command has this name.
    package static let unknownCommand = ConsoleError(code: Errno.notImplemented)
    /// The line is longer than `ConsoleSession` buffers.
    package static let tooLong = ConsoleError(code: Errno.messageTooLong)

    /// The answer's last line: 1, the errno in three digits, and the system's text.
    var line: String { "1" + TextFormat.zeros(Int(code), 3) + " " + SystemError(code: code, "").reason }
}
