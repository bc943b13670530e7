// SPDX-License-Identifier: Apache-2.0

/// The mode and owner of a listener's socket, which decide who may connect.
package struct ListenerAccess: Equatable, Sendable {
    /// The socket's mode.
    package var mode: UInt16
    /// The socket's owner; nil: the user of this process.
    package var user: UInt32?
    /// The socket's group; nil: the one that the kernel gives it, which the directory may decide.
    package var group: UInt32?

    package init(mode: UInt16 = 0o600, user: UInt32? = nil, group: UInt32? = nil) {
        self.mode = mode
        self.user = user
        self.group = group
    }
}
