// SPDX-License-Identifier: Apache-2.0

/// The mode and owner of a listener's socket, which decide who may connect.
package struct ListenerAccess: Equatable, Sendable {
    /// The socket's mode.
    package var mode: UInt16
    package var user: UInt32?
    package var group: UInt32?

    package init(mode: UInt16 = 0o600, user: UInt32? = nil, group: UInt32? = nil) {
        self.mode = mode
        self.user = user
        self.group = group
    }
}
