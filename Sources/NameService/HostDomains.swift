// SPDX-License-Identifier: Apache-2.0
import EventLoop
import HostChanges
import Platform
import Timing

/// The servers that the host's own resolver uses for the names of some domains, as they are at the time: those of
/// systemd-resolved's links, or those of macOS. Both report them by a program, which runs on a separate thread.
package final class HostDomains {
    /// What reports them.
    package struct Source: Sendable {
        /// A file that is replaced with each change; nil if there is none.
        let file: String?
        /// How long a report counts, if no file shows a change. Not each change does: not the revert of a link.
        let lifetime: TimeAmount
        /// Blocks. Returns nil if the report failed.
        let report: @Sendable () -> [NameServer]?

        /// - Parameters:
        ///   - file: is replaced with each change; nil if there is none.
        ///   - lifetime: how long a report counts, if no file shows a change.
        ///   - report: blocks; returns nil if it failed.
        package init(
            file: String?, lifetime: TimeAmount, report: @escaping @Sendable () -> [NameServer]?
        ) {
            self.file = file
            self.lifetime = lifetime
            self.report = report
        }

        /// This system's.
        package static var system: Source {
            OperatingSystem.isMacOS
                ? Source(file: nil, lifetime: .seconds(10), report: HostDomains.scutil)
                : Source(
                    file: "/run/systemd/resolve/resolv.conf", lifetime: .seconds(5),
                    report: HostDomains.systemdResolved)
        }
    }

    private let source: Source
    /// This program's own server, to which that resolver sends the host's queries for names of guests.
    private let own: SocketAddress?
    private let loop: ControlLoop
    private var seen: (modified: Int64, inode: UInt64)?
    private var expires = Instant.distantPast
    private var isReporting = false
    /// The last report.
    private(set) var servers: [NameServer] = [] {
        didSet { reports += 1 }
    }
    /// Incremented with each report.
    private(set) var reports = 0

    /// - Parameter own: the server of this program, which is left out.
    package init(_ source: Source = .system, own: SocketAddress?, loop: ControlLoop) {
        self.source = source
        self.own = own
        self.loop = loop
    }

    /// Starts a report if the last one does not count any more. Cheap enough for once a second.
    func refresh(now: Instant) {
        guard !isReporting else { return }
        if let file = source.file {
            guard let status = try? Files.status(file) else {
                // systemd-resolved is not there, or has ended.
                seen = nil
                servers = []
                return
            }
            let isSame = seen.map { $0 == (status.modified, status.inode) } ?? false
            guard !isSame || now >= expires else { return }
            seen = (status.modified, status.inode)
        } else if now < expires {
            return
        }
        expires = now + source.lifetime
        isReporting = true
        do throws(SystemError) {
            try loop.runInBackground(named: "domains", source.report) { [weak self] report in
                guard let self else { return }
                isReporting = false
                // A report that failed is repeated with the next change, or when its time is over.
                if let report { servers = report.filter { $0.server != own } }
            }
        } catch {
            isReporting = false
        }
    }

    private static let timeout = TimeAmount.seconds(10)

    private static func systemdResolved() -> [NameServer]? {
        guard SystemdResolved.isHere else { return [] }
        guard let domains = SystemdResolved.report(["domain"]), let servers = SystemdResolved.report(["dns"])
        else { return nil }
        return SplitDNS.systemdResolved(domains: domains, servers: servers)
    }

    private static func scutil() -> [NameServer]? {
        guard let program = Programs.find("scutil"),
            let output = try? ChildProcess.run([program, "--dns"], leadsGroup: true, timeout: timeout),
            output.succeeded
        else { return nil }
        return SplitDNS.scutil(output.output)
    }
}
