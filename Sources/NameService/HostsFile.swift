// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// The host's `/etc/hosts`. The file is read again when it has changed.
package final class HostsFile {
    private let path: String
    /// The file that was read; nil while there is none.
    private var seen: FileStatus?
    private var nextCheck = Instant.distantPast
    /// The file's contents; empty if it is missing, no regular file, or longer than `HostsTable.maximumLength`.
    package private(set) var table = HostsTable()

    /// The file is read at the first `refresh`.
    package init(path: String = "/etc/hosts") { self.path = path }

    /// Checks the file, at most once a second.
    package func refresh(now: Instant = BootClock.now) {
        guard now >= nextCheck else { return }
        nextCheck = now + .seconds(1)
        let status = try? Files.status(path)
        if let status, status == seen { return }
        seen = status
        table = HostsTable()
        // Opening a pipe could block.
        guard let status, status.kind == .regular, status.size <= HostsTable.maximumLength else { return }
        guard let bytes = try? Files.read(path) else {
            // The file exists but cannot be read now, for example without free descriptors.
            seen = nil
            return
        }
        if bytes.count <= HostsTable.maximumLength { table = HostsTable(parsing: bytes) }
    }
}
