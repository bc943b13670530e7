// SPDX-License-Identifier: Apache-2.0
import Platform

/// The directory of a door as it was opened. Its path may lead elsewhere a moment later, where somebody else may rename what is on the way; what
/// root removes there or gives away is named by the directory that was opened.
struct DoorPlace: ~Copyable {
    /// How long to wait for another process that makes a socket beside ours, in nanoseconds. That takes it far less than a millisecond.
    private static let patience = MonotonicClock.second

    private let directory: Descriptor?
    /// By which the socket's file is named.
    let file: String
    /// Whether nobody else makes a door there meanwhile.
    let isLocked: Bool

    /// Opens the directory and takes its lock, for as long as the value lives. Anybody who may read a directory can lock it for ever: then, and where it
    /// cannot be opened, what needs no lock still goes on.
    /// - Parameter isLocked: the lock is not needed, or this process has it.
    init(_ path: String, isLocked: Bool) {
        do throws(SystemError) {
            let opened = try Files.open(Files.parent(path), [.readOnly, .directory])
            let base = "/proc/self/fd/\(opened.raw)"
            file = Files.exists(base) ? "\(base)/\(path.split(separator: "/", omittingEmptySubsequences: false).last ?? "")" : path
            self.isLocked = isLocked || (try? opened.lock(until: MonotonicClock.now + DoorPlace.patience)) ?? false
            directory = consume opened
        } catch {
            file = path
            self.isLocked = isLocked
            directory = nil
        }
    }

    /// Whether a user cannot put anything into the directory, which is root's, as we are: a socket of his there was given to him by one of us, which
    /// somebody may have started through sudo. macOS has /var/run writable for the group `daemon`, which has no users in it.
    func isClosed(to user: UInt32) -> Bool {
        guard Accounts.effectiveUser == 0, let status = try? directory?.status(), status.owner == 0, status.mode & 0o002 == 0 else { return false }
        return status.mode & 0o020 == 0 || (Accounts.account(user) != nil && !Accounts.isMember(user, of: status.group))
    }
}
