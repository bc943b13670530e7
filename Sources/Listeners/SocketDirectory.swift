// SPDX-License-Identifier: Apache-2.0
import Platform

/// The directory of a listener as it was opened. Its path may lead elsewhere a moment later, where another user may
/// rename what is on the way; what root makes there, gives away or removes is named by the directory that was opened.
struct SocketDirectory: ~Copyable, Sendable {
    /// How long to wait for another process that makes a socket beside ours, in nanoseconds. That takes it far less
    /// than a millisecond.
    static let patience = MonotonicClock.second

    let directory: Directory
    /// Of the socket.
    let name: String
    /// Locked, as far as possible: any process that may read a directory can lock it for ever.
    private let lock: Descriptor?
    private let isLocked: Bool

    /// Opens the directory and takes its lock, for as long as the value lives.
    /// - Parameter isLocked: the lock is not needed, or this process has it.
    init(_ path: String, isLocked: Bool) throws(SystemError) {
        let name = try Directory.name(of: path)
        let directory = try Directory.open(above: path, .ownersOfLinks)
        let lock = isLocked ? nil : try? directory.reopen()
        self.isLocked = isLocked || (try? lock?.lock(until: MonotonicClock.now + SocketDirectory.patience)) ?? false
        self.lock = lock
        self.name = name
        self.directory = directory
    }

    /// Waits for another process that may be making the socket; behind that, one that does not answer was left.
    func settle() {
        if !isLocked { MonotonicClock.sleep(SocketDirectory.patience) }
    }

    /// Whether a user cannot put anything into the directory, which is root's, as we are: a socket of that user's there
    /// was given away by one of us, started through sudo perhaps. macOS has /var/run writable for the group `daemon`,
    /// which has no users in it.
    func isClosed(to user: UInt32) -> Bool {
        guard Accounts.effectiveUser == 0, let status = try? directory.status(), status.owner == 0,
            status.mode & 0o002 == 0
        else { return false }
        return status.mode & 0o020 == 0 || (Accounts.account(user) != nil && !Accounts.isMember(user, of: status.group))
    }
}
