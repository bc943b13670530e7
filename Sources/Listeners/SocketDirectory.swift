// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// The open directory of a listener. Another user may be able to change where its path leads; whatever root makes,
/// gives away or removes in it is therefore named by the open directory.
struct SocketDirectory: ~Copyable, Sendable {
    /// How long to wait for another process that creates a socket in the directory, which takes it less than a
    /// millisecond.
    static let bindingTimeout = TimeAmount.seconds(1)

    let directory: Directory
    /// The socket's name.
    let name: String
    /// The directory's lock, if it was free in time: any process that can read the directory could hold it without
    /// limit.
    private let lock: Descriptor?
    private let isLocked: Bool

    /// Opens the directory and locks it for the lifetime of the value.
    /// - Parameter isLocked: this process has the lock already.
    init(_ path: String, isLocked: Bool) throws(SystemError) {
        let name = try Directory.name(of: path)
        let directory = try Directory.open(above: path, .trustedLinks)
        let lock = isLocked ? nil : try? directory.reopen()
        self.isLocked = isLocked || (try? lock?.lock(until: BootClock.now + SocketDirectory.bindingTimeout)) ?? false
        self.lock = lock
        self.name = name
        self.directory = directory
    }

    /// Without the lock, waits until another process that may be creating the socket would have finished. A socket that
    /// does not answer afterwards is abandoned.
    func settle() {
        if !isLocked { BootClock.sleep(SocketDirectory.bindingTimeout) }
    }

    /// Whether this process and the directory's owner are root, and `user` cannot create files in it. A socket of that
    /// user was then created by root and given away, for example through sudo. On macOS /var/run is writable for the
    /// group `daemon`, which has no users as members.
    func isClosed(to user: UInt32) -> Bool {
        guard CurrentProcess.effectiveUser == 0, let status = try? directory.status(), status.owner == 0,
            status.mode & 0o002 == 0
        else { return false }
        return status.mode & 0o020 == 0
            || (UserDatabase.account(user) != nil && !UserDatabase.isMember(user, of: status.group))
    }
}
