// SPDX-License-Identifier: Apache-2.0
import HostChanges
import Logging
import Platform
import Timing

/// Makes the host an IPv6 router (`--ipv6 kernel`), for kernels that forward between all interfaces or none. Interfaces
/// that follow router advertisements go on to do so (`accept_ra=2`). Rules (`NATTable.restrictsEverything6`) drop what
/// is not for guests.
final class HostAsRouter6 {
    private let changes: HostChanges
    private let logger: Logger
    private var advertisements: [KernelSetting] = []
    /// The change is recorded: rules are needed, and the setting belongs to this program.
    private(set) var isPlanned = false

    init(changes: HostChanges, logger: Logger) {
        self.changes = changes
        self.logger = logger
    }

    /// Records the settings. Has no effect on a host that its administrator has made a router.
    /// - Returns: false if another process keeps the directory lock for longer.
    func plan(lockTimeout: TimeAmount) -> Bool {
        guard !isPlanned else { return true }
        do throws(SystemError) {
            let lock = try HostChanges.lock(changes.directory, timeout: lockTimeout)
            try record()
            _ = consume lock
            return true
        } catch {
            guard error.code != Errno.busy else { return false }
            logger.warning("\(error); guests do not reach the outside over IPv6")
            return true
        }
    }

    private func record() throws(SystemError) {
        let router = KernelSetting.forwardingEverywhere6, others = changes.log.changesOfOthers()
        let isOthers = others.contains(.setting(router, before: "0"))
        guard router.value == "0" || isOthers else { return }
        var found = KernelSetting.hostsAdvertisements
        // Another instance has set these to 2.
        for case .setting(let setting, before: "1") in isOthers ? others : []
        where setting.path.hasSuffix("/accept_ra") { found.append(setting) }
        // Undone in the opposite order: a host that is no router follows advertisements with 1, too.
        for setting in found { try changes.log.add(.setting(setting, before: "1")) }
        try changes.log.add(.setting(router, before: "0"))
        advertisements = found
        isPlanned = true
    }

    /// Changes the settings that are recorded.
    func enable() {
        guard isPlanned, KernelSetting.forwardingEverywhere6.value == "0" else { return }
        do throws(SystemError) {
            for setting in advertisements where setting.value == "1" { try setting.set("2") }
            try KernelSetting.forwardingEverywhere6.set("1")
            logger.notice(
                "this host is an IPv6 router until vde_vmnet ends (--ipv6 kernel); it forwards for guests only")
        } catch {
            logger.warning("\(error); guests do not reach the outside over IPv6")
        }
    }

    /// Writes whether the host is a router, if it is one because of this program.
    func set(_ value: String) { if isPlanned { try? KernelSetting.forwardingEverywhere6.set(value) } }
}
