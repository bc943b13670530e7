// SPDX-License-Identifier: Apache-2.0
import AddressService
import Logging
import Platform
import Wire

/// The leases of one network on disk. Every change is on the disk before its client hears of it; the file is rewritten when it has grown.
package final class LeaseFile {
    private let path: String
    private let logger: Logger
    /// Open for appending.
    private var file: Descriptor
    private var lines: Int
    private var hasFailed = false

    /// Opens or creates the file and reads it. A damaged file is set aside, and what is sound in it kept.
    /// - Returns: the leases, their ends on the monotonic clock, in the order of those.
    package static func open(_ path: String, logger: Logger) throws(ExitError) -> (file: LeaseFile, leases: [Lease]) {
        do throws(SystemError) {
            let leases = try load(path, logger)
            return (LeaseFile(path, try rewrite(path, leases), lines: leases.count, logger), leases)
        } catch {
            throw ExitError(.unavailable, "cannot keep leases: \(error); choose another directory with --state-dir")
        }
    }

    private init(_ path: String, _ file: consuming Descriptor, lines: Int, _ logger: Logger) {
        self.path = path
        self.file = file
        self.lines = lines
        self.logger = logger
    }

    private static func load(_ path: String, _ logger: Logger) throws(SystemError) -> [Lease] {
        var contents = LeaseJournal.Contents()
        do throws(SystemError) {
            contents = LeaseJournal.parse(try Files.read(path))
        } catch {
            guard error.code == Errno.noEntry else { throw error }
        }
        if contents.isForeign || contents.damagedLines > 0 {
            let aside = "\(path).damaged-\(WallClock.seconds)"
            try Files.rename(path, to: aside)
            let damage = contents.isForeign ? "it is not one of ours" : "\(contents.damagedLines) bad lines"
            logger.warning("the lease file was damaged (\(damage)); it was set aside as \(aside); \(contents.records.count) sound lines are kept")
        }
        let now = MonotonicClock.now, wall = WallClock.seconds
        return LeaseJournal.settled(contents.records).map { record in
            var lease = record.lease
            // An end that lies far ahead is a clock that was wrong, not a lease of ours.
            let remaining = min(max(record.ends - wall, -1 << 30), 86_400)
            lease.expires = remaining >= 0 ? now + UInt64(remaining) * MonotonicClock.second : now - min(now, UInt64(-remaining) * MonotonicClock.second)
            return lease
        }
    }

    private static func line(_ lease: Lease) -> String {
        let now = MonotonicClock.now
        let remaining = lease.expires >= now ? Int64((lease.expires - now) / MonotonicClock.second) : -Int64((now - lease.expires) / MonotonicClock.second)
        return LeaseJournal.line(for: LeaseJournal.Record(lease: lease, ends: WallClock.seconds + remaining))
    }

    /// Replaces the file by one that holds `leases`, and opens it for appending.
    private static func rewrite(_ path: String, _ leases: [Lease]) throws(SystemError) -> Descriptor {
        try Files.replace(path, Array((LeaseJournal.header + leases.map(line).joined()).utf8))
        return try Files.open(path, [.writeOnly, .append])
    }

    /// Writes changes, and waits until they are on the disk. Without room for them the leases are granted all the same: a guest without
    /// an address is worse off than one that may have to ask again after a crash.
    /// - Parameter all: every lease, for when the file is rewritten.
    package func append(_ changes: [Lease], all: @autoclosure () -> [Lease]) {
        guard !changes.isEmpty else { return }
        do throws(SystemError) {
            if lines > 1000 && lines > 4 * all().count {
                let leases = all()
                file = try LeaseFile.rewrite(path, leases)
                lines = leases.count
            } else {
                try write(changes)
                lines += changes.count
            }
            if hasFailed { logger.notice("leases are being written again") }
            hasFailed = false
        } catch {
            if !hasFailed { logger.error("leases cannot be written: \(error) (\(path)); they are granted, but a restart would forget them") }
            hasFailed = true
        }
    }

    private func write(_ changes: [Lease]) throws(SystemError) {
        let before = try file.status().size
        do throws(SystemError) {
            try file.write(Array(changes.map(LeaseFile.line).joined().utf8))
            try file.synchronize()
        } catch {
            // Half a line must not spoil the next one.
            try? file.truncate(to: before)
            throw error
        }
    }
}
