// SPDX-License-Identifier: Apache-2.0
import DHCPService
import EventLoop
import Logging
import Platform
import Timing
import Wire

/// The guests that have or had the leased addresses. When the lease of an address goes to another guest, the kernel's
/// connections of the address end. The next holder does not continue those that the guest before has begun
/// (`NATTable+Holders`), but would get what outside peers still send, and those of clients of published ports.
///
/// The kernel's table is read in the background, by one thread at a time; addresses that move meanwhile are handled
/// together afterwards. So guests that exchange addresses all the time cost no more than one thread.
final class AddressHolders {
    /// Addresses of one reading of the kernel's table.
    private static let batch = 256
    /// Between two messages about connections that cannot be ended.
    private static let logInterval = TimeAmount.minutes(10)

    private let loop: ControlLoop
    private let logger: Logger
    /// By the address, also those whose lease has ended. Bounded by the pool.
    private var holders: [IPv4Address: MACAddress] = [:]
    private var pending: Set<IPv4Address> = []
    private var isRunning = false
    private var nextLog = Instant.distantPast

    init(loop: ControlLoop, logger: Logger) {
        self.loop = loop
        self.logger = logger
    }

    /// Leases were given or have changed.
    func note(_ leases: [Lease], now: Instant) {
        for lease in leases {
            let before = holders.updateValue(lease.hardware, forKey: lease.address)
            if let before, before != lease.hardware, lease.expires > now { pending.insert(lease.address) }
        }
        removeNext()
    }

    private func removeNext() {
        guard !isRunning, !pending.isEmpty else { return }
        let addresses = Array(pending.prefix(AddressHolders.batch))
        pending.subtract(addresses)
        do throws(SystemError) {
            isRunning = true
            try loop.runInBackground(named: "connections") {
                Result { () throws(SystemError) in
                    try ConnectionTracking.remove(of: addresses.map { .ipv4($0) })
                }
            } then: { [weak self] result in
                self?.finish(addresses, result)
            }
        } catch {
            finish(addresses, .failure(error))
        }
    }

    private func finish(_ addresses: [IPv4Address], _ result: Result<Int, SystemError>) {
        isRunning = false
        switch result {
        case .success(let count):
            logger.debug("\(addresses.count) addresses have other guests; \(count) connections of those before ended")
        case .failure(let error): report(error, now: BootClock.now)
        }
        removeNext()
    }

    private func report(_ error: SystemError, now: Instant) {
        guard now >= nextLog else { return }
        nextLog = now + AddressHolders.logInterval
        logger.warning(
            """
            an address has another guest, which gets packets of connections of the guest before: \(error); load the \
            kernel module nf_conntrack_netlink
            """)
    }
}
