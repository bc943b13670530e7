// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Logging
import Platform
import Timing
import Wire

/// The leases of one network on disk. Every change is on the disk before its client hears of it; the file is rewritten
/// when it has grown.
package final class LeaseFile {
    private let directory: Directory
    private let name: String
    private let logger: Logger
    /// Open for appending; nil as long as there was no room for it.
    private var file: Descriptor?
    private var lines: Int
    private var hasFailed = false

    /// Opens or creates the file and reads it. A damaged file is set aside, and what is sound in it kept.
    /// - Returns: the leases, their ends on the monotonic clock, in the order of those.
    package static func open(_ path: String, logger: Logger) throws(ExitError) -> (file: LeaseFile, leases: [Lease]) {
        do throws(SystemError) {
            let name = try Directory.name(of: path)
            let directory = try Directory.open(above: path, .ownersOfLinks)
            let leases = try load(name, in: directory, logger)
            let file = LeaseFile(directory, name, logger)
            try file.begin(leases)
            return (file, leases)
        } catch {
            throw ExitError(.ioError, "cannot keep leases: \(error); choose another directory with --state-dir")
        }
    }

    private init(_ directory: consuming Directory, _ name: String, _ logger: Logger) {
        self.directory = directory
        self.name = name
        self.logger = logger
        lines = 0
    }

    /// The first writing. A full disk keeps no instance from starting, as it stops none that runs: what is there is
    /// kept, and added to when there is room.
    private func begin(_ leases: [Lease]) throws(SystemError) {
        do throws(SystemError) {
            file = try rewrite(leases)
            lines = leases.count
        } catch {
            guard error.isFullDisk else { throw error }
            complain(error)
        }
    }

    private static func load(
        _ name: String, in directory: borrowing Directory, _ logger: Logger
    ) throws(SystemError) -> [Lease] {
        var contents = LeaseJournal.Contents()
        do throws(SystemError) {
            contents = LeaseJournal.parse(try directory.open(name, [.readOnly, .nonBlocking]).readAll())
        } catch {
            guard error.code == Errno.noEntry else { throw error }
        }
        if contents.isForeign || contents.damagedLines > 0 {
            let aside = "\(name).damaged-\(WallClock.seconds)"
            try directory.rename(name, to: aside)
            let damage = contents.isForeign ? "it is not one of ours" : "\(contents.damagedLines) bad lines"
            logger.warning(
                "the lease file was damaged (\(damage)); it was set aside as \(directory.path(of: aside)); \(contents.records.count) sound lines are kept"
            )
        }
        let now = BootClock.now, wall = WallClock.seconds
        return LeaseJournal.settled(contents.records).map { record in
            var lease = record.lease
            // An end that lies far ahead is a clock that was wrong, not a lease of ours.
            let remaining = min(max(record.ends - wall, -1 << 30), 86_400)
            lease.expires = max(.distantPast, now + .seconds(remaining))
            return lease
        }
    }

    private static func line(_ lease: Lease) -> String {
        let remaining = (lease.expires - BootClock.now).seconds
        return LeaseJournal.line(for: LeaseJournal.Record(lease: lease, ends: WallClock.seconds + remaining))
    }

    /// Replaces the file by one that holds `leases`, and opens it for appending.
    private func rewrite(_ leases: [Lease]) throws(SystemError) -> Descriptor {
        try directory.replace(name, Array((LeaseJournal.header + leases.map(LeaseFile.line).joined()).utf8))
        return try directory.open(name, [.writeOnly, .append])
    }

    /// Writes changes, and waits until they are on the disk. Without room for them the leases are granted all the same:
    /// a guest without an address is worse off than one that may have to ask again after a crash.
    /// - Parameter all: every lease, for when the file is rewritten.
    package func append(_ changes: [Lease], all: @autoclosure () -> [Lease]) {
        guard !changes.isEmpty else { return }
        do throws(SystemError) {
            if file == nil || (lines > 1000 && lines > 4 * all().count) {
                let leases = all()
                file = try rewrite(leases)
                lines = leases.count
            } else {
                try write(changes)
                lines += changes.count
            }
            if hasFailed { logger.notice("leases are being written again") }
            hasFailed = false
        } catch {
            complain(error)
        }
    }

    private func complain(_ error: SystemError) {
        if !hasFailed {
            logger.error(
                "leases cannot be written: \(error) (\(directory.path(of: name))); they are granted, but a restart would forget them"
            )
        }
        hasFailed = true
    }

    private func write(_ changes: [Lease]) throws(SystemError) {
        guard let before = try file?.status().size else { return }
        do throws(SystemError) {
            try file?.write(Array(changes.map(LeaseFile.line).joined().utf8))
            try file?.synchronize()
        } catch {
            // Half a line must not spoil the next one.
            try? file?.truncate(to: before)
            throw error
        }
    }
}
