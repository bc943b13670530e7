// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Uplinks

/// Forwarding on the interfaces through which guests leave the host. It is switched on where the host is no router, and
/// recorded before.
final class EgressForwarding {
    struct Step {
        fileprivate let interface: String
        fileprivate let setting: KernelSetting
    }

    private static let everywhere = KernelSetting(path: "net/ipv4/conf/all/forwarding")
    /// From so many failures in a row on, a lock that is held is reported: an instance that starts or ends holds it for
    /// a moment.
    private static let reportedRefusals = 8

    private let tap: String
    private let record: RunRecord
    private let directory: String
    private let logger: Logger
    /// Those on which we have switched it on, with their indexes.
    private var interfaces: [String: UInt32] = [:]
    /// Those that were closed on purpose.
    private var reportedClosed: Set<String> = []
    private var refusals = 0

    init(tap: String, record: RunRecord, directory: String, logger: Logger) {
        self.tap = tap
        self.record = record
        self.directory = directory
        self.logger = logger
    }

    /// Whether the host forwards between all interfaces, but for those that its administrator has closed.
    static var isRouter: Bool { everywhere.value == "1" }

    /// The interfaces between which rules of ours keep forwarding off. On a router they would stand in the way of what
    /// others want.
    var guarded: [String] { EgressForwarding.isRouter ? [] : interfaces.keys.sorted() }

    /// Notes in the record the interfaces that lead out and do not forward yet. `guarded` has them then; its rules are
    /// to be applied before `enable`.
    /// - Parameters:
    ///   - routes: of this host.
    ///   - patience: nanoseconds to wait for the lock of the records.
    /// - Returns: nil if another process has the lock for longer.
    func plan(_ routes: [Route], waiting patience: UInt64) -> [Step]? {
        followRenames()
        let candidates = EgressInterfaces.leading(routes, except: tap).filter { interfaces[$0.name] == nil }
        if candidates.isEmpty { return [] }
        let lock: Descriptor
        do throws(SystemError) {
            lock = try Privileged.lock(directory, for: patience)
            refusals = 0
        } catch {
            refusals += 1
            if refusals == EgressForwarding.reportedRefusals {
                logger.warning(
                    "\(error.code == Errno.busy ? error.operation : error.description); guests do not get out through new interfaces until it is free"
                )
            }
            return nil
        }
        let others = record.actsOfOthers()
        var steps: [Step] = []
        for (interface, index) in candidates {
            let setting = KernelSetting.forwarding(on: interface)
            // Another instance may have switched it on: then what it found is what was there before us all.
            var original: String?
            for case .setting(setting, let before) in others { original = before }
            guard let before = original ?? setting.value, before == "0" else { continue }
            if original == nil && EgressForwarding.isRouter {
                // Off on a router: by its administrator.
                if reportedClosed.insert(interface).inserted {
                    logger.info(
                        "forwarding is off on \(interface) of a host that routes; guests do not get out through it (sysctl net.ipv4.conf.\(interface).forwarding)"
                    )
                }
                continue
            }
            do throws(SystemError) {
                try record.add(.setting(setting, before: before))
                interfaces[interface] = index
                steps.append(Step(interface: interface, setting: setting))
            } catch {
                logger.warning("\(error); guests do not get out through \(interface)")
            }
        }
        _ = consume lock
        return steps
    }

    /// An interface that was renamed keeps its setting, and needs its guard under the new name. One that is gone needs
    /// none.
    private func followRenames() {
        for (name, index) in interfaces {
            let current = NetworkInterfaces.name(of: index)
            guard current != name else { continue }
            interfaces[name] = nil
            guard let current, (try? record.add(.setting(.forwarding(on: current), before: "0"))) != nil else {
                continue
            }
            interfaces[current] = index
        }
    }

    func enable(_ steps: [Step]) {
        for step in steps {
            do throws(SystemError) {
                try step.setting.set("1")
                logger.info("forwarding for guests through \(step.interface)")
            } catch {
                interfaces[step.interface] = nil
                logger.warning("\(error); guests do not get out through \(step.interface)")
            }
        }
    }

    /// The settings that other programs are to leave as they are: none on a router.
    var settings: [KernelSetting] { EgressForwarding.isRouter ? [] : interfaces.keys.map { .forwarding(on: $0) } }

    func set(_ value: String) { for setting in settings { try? setting.set(value) } }
}
