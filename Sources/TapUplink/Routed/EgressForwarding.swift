// SPDX-License-Identifier: Apache-2.0
import HostChanges
import Logging
import Platform
import Timing

/// Forwarding on the interfaces through which guests' packets leave the host, by one version of IP. If the host is not
/// a router, forwarding is recorded and switched on.
final class EgressForwarding {
    /// The versions of IP, which the kernel forwards apart from each other.
    enum Version {
        case ipv4
        /// By `force_forwarding`, which a kernel must have.
        case ipv6

        var isRouter: Bool { self == .ipv4 ? KernelSetting.isRouter : KernelSetting.isRouter6 }

        func setting(on interface: String) -> KernelSetting {
            self == .ipv4 ? .forwarding(on: interface) : .forcedForwarding(on: interface)
        }
    }

    /// An interface on which forwarding is recorded and still off.
    struct Step {
        fileprivate let interface: String
        fileprivate let setting: KernelSetting
    }

    /// The number of failures in a row after which the directory lock is reported. Each instance that starts or ends
    /// takes it for a moment.
    private static let failuresUntilReport = 8

    private let version: Version
    private let changes: HostChanges
    private let logger: Logger
    /// The interfaces on which forwarding was switched on, with their indexes.
    private var interfaces: [String: UInt32] = [:]
    /// Interfaces that the administrator has closed, and that were reported.
    private var reportedClosed: Set<String> = []
    private var failures = 0

    init(_ version: Version, changes: HostChanges, logger: Logger) {
        self.version = version
        self.changes = changes
        self.logger = logger
    }

    /// The interfaces between which rules drop forwarded packets. None on a router, where the administrator needs those
    /// packets to pass.
    var restrictedInterfaces: [String] { version.isRouter ? [] : interfaces.keys.sorted() }

    /// Records the egress interfaces on which forwarding is off, and adds them to `restrictedInterfaces`. Their
    /// rules must be applied before `enable`.
    /// - Parameters:
    ///   - egress: the interfaces by which guests' packets may leave.
    ///   - lockTimeout: how long to wait for the directory lock.
    /// - Returns: nil if another process keeps the lock longer.
    func plan(_ egress: [(name: String, index: UInt32)], lockTimeout: TimeAmount) -> [Step]? {
        followRenames()
        let candidates = egress.filter { interfaces[$0.name] == nil }
        if candidates.isEmpty { return [] }
        let lock: Descriptor
        do throws(SystemError) {
            lock = try HostChanges.lock(changes.directory, timeout: lockTimeout)
            failures = 0
        } catch {
            failures += 1
            if failures == EgressForwarding.failuresUntilReport {
                logger.warning(
                    """
                    \(error.code == Errno.busy ? error.operation : error.description); guests do not reach the outside \
                    through new interfaces until it is released
                    """
                )
            }
            return nil
        }
        let others = changes.log.changesOfOthers()
        var steps: [Step] = []
        for (interface, index) in candidates {
            let setting = version.setting(on: interface)
            // If another instance has switched it on, the value that it found is the original one.
            var original: String?
            for case .setting(setting, let before) in others { original = before }
            guard let before = original ?? setting.value, before == "0" else { continue }
            if original == nil && version.isRouter {
                // A router for IPv6 forwards without.
                if version == .ipv6 { continue }
                // On a router, the administrator has switched it off.
                if reportedClosed.insert(interface).inserted {
                    logger.info(
                        """
                        forwarding is off on \(interface) of a host that routes; guests do not reach the outside \
                        through it (sysctl net.ipv4.conf.\(interface).forwarding)
                        """
                    )
                }
                continue
            }
            do throws(SystemError) {
                try changes.log.add(.setting(setting, before: before))
                interfaces[interface] = index
                steps.append(Step(interface: interface, setting: setting))
            } catch {
                logger.warning("\(error); guests do not reach the outside through \(interface)")
            }
        }
        _ = consume lock
        return steps
    }

    /// A renamed interface keeps its setting, and needs a guard under its new name. An interface that is gone needs
    /// none.
    private func followRenames() {
        for (name, index) in interfaces {
            let current = NetworkInterfaces.name(of: index)
            guard current != name else { continue }
            interfaces[name] = nil
            guard let current, (try? changes.log.add(.setting(version.setting(on: current), before: "0"))) != nil else {
                continue
            }
            interfaces[current] = index
        }
    }

    /// Switches forwarding on.
    func enable(_ steps: [Step]) {
        for step in steps {
            do throws(SystemError) {
                try step.setting.set("1")
                logger.info("forwarding\(version == .ipv6 ? " of IPv6" : "") for guests through \(step.interface)")
            } catch {
                interfaces[step.interface] = nil
                logger.warning("\(error); guests do not reach the outside through \(step.interface)")
            }
        }
    }

    /// The settings to restore if other programs change them: none on a router.
    var settings: [KernelSetting] { version.isRouter ? [] : interfaces.keys.map { version.setting(on: $0) } }

    /// Writes all of `settings`.
    func set(_ value: String) { for setting in settings { try? setting.set(value) } }
}
