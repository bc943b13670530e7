// SPDX-License-Identifier: Apache-2.0

/// The Linux capabilities that the daemon needs (capabilities(7)).
package struct Capabilities: OptionSet, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Change the owner of files.
    package static let chown = Capabilities(rawValue: 1 << 0)
    /// Bypass the permission checks of files and directories.
    package static let dacOverride = Capabilities(rawValue: 1 << 1)
    /// Bypass checks that require the file's owner.
    package static let fileOwner = Capabilities(rawValue: 1 << 3)
    /// Send signals to other users' processes.
    package static let kill = Capabilities(rawValue: 1 << 5)
    /// Bind ports below 1024.
    package static let netBindService = Capabilities(rawValue: 1 << 10)
    /// Interfaces, addresses, routes, firewall, settings below net/, socket buffers beyond the system's limit.
    package static let netAdmin = Capabilities(rawValue: 1 << 12)
    /// Raw and packet sockets.
    package static let netRaw = Capabilities(rawValue: 1 << 13)
}
