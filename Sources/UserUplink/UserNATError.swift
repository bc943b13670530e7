// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform

/// Why the user-mode NAT could not be started.
package enum UserNATError: Error, Sendable {
    /// A port could not be published: the number on the host, and the positive errno.
    case port(PublishedPort, UInt16, Int32)
    case system(SystemError)
}
