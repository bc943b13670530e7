// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Logging
import Platform
import Timing
import Wire

/// The leases of one network on disk (`LeaseJournal`). A change is on disk before the server acknowledges it to the
/// client; the file is rewritten when it has grown.
package final class LeaseFile {
    private let directory: Directory
    private let name: String
    private let logger: Logger
    /// Open for appending; nil while the disk is full.
    private var file: Descriptor?
    private var lines: Int
    private var hasFailed = false

    /// Seconds of the longest lease that is read from a file of any lease time.
    private static let longestLease: UInt32 = 86_400

    /// Opens or creates the file and reads it. A damaged file is renamed, and its valid lines are kept.
    /// - Parameter leaseTime: seconds of the longest lease that is given now.
    /// - Returns: the leases sorted by their ends, which are on `BootClock`.
    /// - Throws: `ioError` if the file cannot be read or created.
    package static func open(
        _ path: String, leaseTime: UInt32 = DHCPConfiguration.usualLeaseTime, logger: Logger
    ) throws(ExitError) -> (file: LeaseFile, leases: [Lease]) {
        do throws(SystemError) {
            let name = try Directory.name(of: path)
            let directory = try Directory.open(above: path, .trustedLinks)
            let leases = try load(name, in: directory, longest: Int64(max(leaseTime, longestLease)), logger)
            let file = LeaseFile(directory, name, logger)
            try file.begin(leases)
            return (file, leases)
        } catch {
            let lack = error.remedyOfLack.map { $0 + ", or " } ?? ""
            throw ExitError(
                .ioError,
                "cannot keep leases: \(error.about(path)); \(lack)choose another directory with --state-dir")
        }
    }

    private init(_ directory: consuming Directory, _ name: String, _ logger: Logger) {
        self.directory = directory
        self.name = name
        self.logger = logger
        lines = 0
    }

    /// Writes the file for the first time. A full disk does not prevent the start, as it does not stop a running
    /// instance: the old file stays until there is room.
    private func begin(_ leases: [Lease]) throws(SystemError) {
        do throws(SystemError) {
            file = try rewrite(leases)
            lines = leases.count
        } catch {
            guard error.isFullDisk else { throw error }
            report(error)
        }
    }

    private static func load(
        _ name: String, in directory: borrowing Directory, longest: Int64, _ logger: Logger
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
            let damage = contents.isForeign ? "it has another format" : "\(contents.damagedLines) bad lines"
            logger.warning(
                """
                the lease file was damaged (\(damage)); it was renamed to \(directory.path(of: aside)); \
                \(contents.records.count) valid lines are kept
                """
            )
        }
        let now = BootClock.now, wall = WallClock.seconds
        return LeaseJournal.settled(contents.records).map { record in
            var lease = record.lease
            // An end beyond the lease time comes from a wrong wall clock, or from a longer lease time before.
            let remaining = min(max(record.ends - wall, -1 << 30), longest)
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

    /// Writes changes and waits until they are on disk. If that fails the leases are assigned nevertheless: a guest
    /// without an address is worse off than one that may have to request again after a crash.
    /// - Parameter all: every lease, in case the file is rewritten.
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
            report(error)
        }
    }

    private func report(_ error: SystemError) {
        if !hasFailed {
            logger.error(
                """
                leases cannot be written: \(error.about(directory.path(of: name))); they are assigned, but lost at a \
                restart
                """
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
            // An incomplete line must not damage the next one.
            try? file?.truncate(to: before)
            throw error
        }
    }
}
