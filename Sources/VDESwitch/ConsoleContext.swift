// SPDX-License-Identifier: Apache-2.0

/// Facts that the console shows or uses and that the switch itself does not have.
package struct ConsoleContext {
    /// The version in the banner, after `V.`.
    package var version: String
    /// The path of the switch's directory.
    package var directory: String
    /// The permission bits of the control socket.
    package var mode: UInt16
    /// The console's socket; nil without one.
    package var path: String?
    /// The permission bits of the console's socket.
    package var pathMode: UInt16
    /// Disconnects a client, given the port and the connection's identifier.
    package var disconnect: (Int, Int32) -> Void

    package init(
        version: String, directory: String, mode: UInt16, path: String?, pathMode: UInt16,
        disconnect: @escaping (Int, Int32) -> Void
    ) {
        self.version = version
        self.directory = directory
        self.mode = mode
        self.path = path
        self.pathMode = pathMode
        self.disconnect = disconnect
    }
}
