// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import Platform
import Timing
import Wire

/// Finds out whether this host is behind a NAT64, and by which prefix, by queries to its resolver for IPv6 addresses of
/// a name that has IPv4 addresses only (RFC 7050 section 3): `ipv4only.arpa`.
///
/// The resolver is queried on a background thread, one query at a time: at the start, after changes of the host's
/// network, and every ten minutes. On the control thread.
package final class NAT64Discovery {
    private static let name = "ipv4only.arpa"
    /// Between two queries without a change of the host.
    private static let interval = TimeAmount.minutes(10)
    /// From a change to a query, and the least time between two.
    private static let settling = TimeAmount.seconds(2)
    /// Addresses of an answer that are examined.
    private static let addressLimit = 16

    private let loop: ControlLoop
    private let logger: Logger
    private let isNeeded: () -> Bool
    private let onResult: ([NAT64Prefix]) -> Void
    private var monitor: ChangeMonitor?
    private var timer: ControlLoop.TimerID?
    private var isQuerying = false
    /// The host has changed since the running query began.
    private var isStale = false
    private var isStopped = false

    /// Sends the first query when the loop runs.
    /// - Parameters:
    ///   - isNeeded: whether guests could use a NAT64; no query is sent otherwise.
    ///   - onResult: called after each answer; empty if the host is behind no NAT64.
    package init(
        loop: ControlLoop, logger: Logger, isNeeded: @escaping () -> Bool, onResult: @escaping ([NAT64Prefix]) -> Void
    ) {
        self.loop = loop
        self.logger = logger
        self.isNeeded = isNeeded
        self.onResult = onResult
        timer = loop.scheduleSoon { [unowned self] in query() }
        // On a system that does not report changes, the interval remains.
        monitor = try? ChangeMonitor(NetworkInterfaces.monitor(), settling: Self.settling, loop: loop) {
            [unowned self] in query()
        }
    }

    /// Sends no more queries. The result of a running query is ignored.
    package func stop() {
        isStopped = true
        monitor?.stop()
        loop.cancel(timer)
    }

    private func query() {
        loop.cancel(timer)
        guard !isQuerying else {
            isStale = true
            return
        }
        guard isNeeded() else { return schedule(after: Self.interval) }
        do throws(SystemError) {
            try loop.runInBackground(named: "NAT64 query") {
                SocketAddress.addresses6(of: Self.name, limit: Self.addressLimit)
            } then: { [weak self] in
                self?.finish($0)
            }
            isQuerying = true
        } catch {
            logger.debug("\(error)")
            schedule(after: Self.interval)
        }
    }

    private func finish(_ addresses: [IPv6Address]?) {
        isQuerying = false
        guard !isStopped else { return }
        // Without an answer, what was known stays until the host changes or an answer comes.
        if let addresses { onResult(addresses.compactMap { NAT64Prefix(synthesized: $0) }) }
        schedule(after: isStale ? Self.settling : Self.interval)
        isStale = false
    }

    private func schedule(after delay: TimeAmount) {
        timer = loop.schedule(after: delay) { [unowned self] in query() }
    }
}
