// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a console command failed: the errno that vde_switch answers with.
package struct ConsoleError: Error, Equatable, Sendable {
    package let code: Int32

    package static let invalid = ConsoleError(code: Errno.invalid)
    package static let exists = ConsoleError(code: Errno.exists)
    /// No such port or VLAN.
    package static let noSuch = ConsoleError(code: Errno.noSuchDeviceOrAddress)
    /// No such address.
    package static let notFound = ConsoleError(code: Errno.noDevice)
    package static let inUse = ConsoleError(code: Errno.addressInUse)
    package static let noSpace = ConsoleError(code: Errno.noSpace)
    package static let unknownCommand = ConsoleError(code: Errno.notImplemented)
    package static let tooLong = ConsoleError(code: Errno.messageTooLong)

    /// The answer's last line: 1, the errno in three digits, and the system's text.
    var line: String { "1" + TextFormat.zeros(Int(code), 3) + " " + SystemError(code: code, "").reason }
}
