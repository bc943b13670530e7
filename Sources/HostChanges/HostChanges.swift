// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import Lifecycle
import Logging
import Platform
import Timing

// Theory of operation: how changes of the host are recorded and undone
// ====================================================================
//
// What is changed. An instance changes six kinds of things that outlive the process (`HostChange`):
//
//     change       example                                  undone by
//     table        nftables table vde_vmnet_vmnet0          delete table (the kernel deletes one that has an owner)
//     setting      net/ipv4/conf/eth0/forwarding was 0      writing the recorded value
//                  net/ipv6/conf/eth0/force_forwarding was 0
//     switchPort   port vmnet0 of the OVS bridge br0        ovs-vsctl del-port
//     rule         routing rule for 192.168.105.0/24        ip rule del
//     resolver     DNS server of vmnet0 in systemd-resolved resolvectl revert, if vmnet0 is still there
//     resolverFile /etc/resolver/vm.internal (macOS)        removing the file, if its first line is this program's
//
// Everything else (the TAP, its addresses, routes and settings, packet sockets) ends with a descriptor, so the kernel
// undoes it however the process ends.
//
// Write-ahead. Each instance has a record, a file in the runtime directory (`UndoLog`). A change is written to the
// record before it is made. Undoing a change that was never made has no effect, so it does not matter at which point
// between the two a process is killed.
//
// Liveness. The process keeps its record locked. The kernel releases the lock when the process ends, so a record that
// another process can lock belongs to a dead instance. `UndoLog.isHeld` covers the cases in which a lock alone proves
// nothing (a record that other users can open, a child that inherited the lock).
//
//     event                     action
//     start, any instance       take the directory lock; undo the records of dead instances; make the own record;
//                               release the directory lock
//     change                    write to the record, then make the change
//     regular end               take the directory lock (1 s at most); undo in reverse order; remove the record
//     kill, crash, power loss   nothing; the next start in the same network namespace undoes the record. A record of
//                               an earlier boot is removed, because the kernel no longer has those changes, and one of
//                               a network namespace that is gone (`NamespaceSweep`)
//
// Several instances. A setting such as forwarding on eth0 is shared. While another live instance has recorded the same
// setting, an ending instance leaves it as it is; the last one writes the value that the first one found.
// `EgressForwarding` takes over that value from the other records, under the directory lock.
//
// Trust. The record is input to a process with privileges. Its directory is closed to other users, and a line that this
// program would not have written is reported and ignored (`HostChange.init`).
//
// Locks, in this order: the directory lock (file `lock`), then a record's lock. The directory lock is waited for only
// at start and end; while the event loop runs, an attempt that fails is repeated by a timer. All methods run on the
// control thread. nft, libnftables, ovs-vsctl and resolvectl may block it for as long as they run.

/// The changes that one instance has made to the host, with the record on disk from which they can be undone.
package final class HostChanges {
    /// Where the changes are recorded. Add a change before making it.
    package let log: UndoLog
    /// The runtime directory, with the records of all instances.
    package let directory: String
    private let logger: Logger
    /// The nftables tables of this process. Only it can remove a table that it owns.
    package var firewall: GuestFirewall?
    private var isUndone = false

    private init(log: UndoLog, directory: String, logger: Logger) {
        self.log = log
        self.directory = directory
        self.logger = logger
    }

    /// The result of `reserve`.
    package enum Reservation {
        case reserved(HostChanges)
        /// Another process has the name. The process identifier is 0 if it is unknown.
        case taken(by: Int32)
    }

    /// Undoes the changes of killed instances, then reserves `name` for this instance.
    /// - Parameter name: of a resource that one instance at a time may use, such as a network.
    /// - Throws: `alreadyRunning` if another instance keeps the directory locked, `cannotCreate` if a file fails.
    package static func reserve(
        _ name: String, in directory: String, logger: Logger
    ) throws(ExitError) -> Reservation {
        do throws(SystemError) {
            // Kept until the end of this function: no other instance cleans up or reserves meanwhile.
            let lock = try lock(directory, timeout: startLockTimeout)
            undoOrphans(in: directory, logger)
            let (log, owner) = try UndoLog.create(name, in: directory)
            _ = consume lock
            guard let log else { return .taken(by: owner) }
            return .reserved(HostChanges(log: log, directory: directory, logger: logger))
        } catch {
            guard error.code == Errno.busy else {
                throw ExitError(
                    .cannotCreate,
                    """
                    cannot record changes of the host: \(error.about(directory)); \
                    \(error.remedyOfLack ?? "\(directory) must be writable for this user")
                    """)
            }
            throw ExitError(.alreadyRunning, "\(error.operation); wait until that process ends, or stop it")
        }
    }

    /// Undoes the changes of killed instances, as `reserve` does, before a decision that depends on the host's
    /// settings. If that fails, `reserve` reports the reason.
    /// - Returns: the changes of the other instances that are alive, which they will undo.
    package static func changesOfOthers(in directory: String, logger: Logger) -> [HostChange] {
        guard let lock = try? lock(directory, timeout: startLockTimeout) else { return [] }
        undoOrphans(in: directory, logger)
        let changes = UndoLog.changesOfLiving(in: directory)
        _ = consume lock
        return changes
    }

    /// Needs the directory lock.
    private static func undoOrphans(in directory: String, _ logger: Logger) {
        for orphan in UndoLog.orphans(in: directory) {
            if !orphan.changes.isEmpty { logger.notice("cleaning up after an instance that was killed") }
            for line in orphan.rejected {
                logger.warning(
                    """
                    \(orphan.path): '\(PrintableText.line(line))' is not a change that this program records, and is \
                    not undone; check which program wrote to that file
                    """)
            }
            undo(orphan, nil, logger)
        }
    }

    // MARK: The directory lock

    /// How long a starting instance waits for the directory lock. Another instance may keep it while it cleans up.
    package static let startLockTimeout = TimeAmount.seconds(5)
    /// How long an ending instance waits for the directory lock, before it undoes its changes without.
    private static let endLockTimeout = TimeAmount.seconds(1)
    /// How long after a failed attempt a running instance tries the directory lock again.
    package static let lockRetryInterval = TimeAmount.milliseconds(250)

    /// Takes the lock under which records are made, compared and removed. Closing the descriptor releases it.
    /// - Parameter timeout: zero tries once.
    /// - Throws: `Errno.busy`, with a sentence about the owner of the lock as the operation.
    package static func lock(_ directory: String, timeout: TimeAmount) throws(SystemError) -> Descriptor {
        let path = directory + "/lock"
        let file = try Files.open(path, [.readWrite, .create, .noFollow], mode: 0o600)
        if try file.lock(until: BootClock.now + timeout) { return file }
        // The lock may outlast the process that took it, in a child that is about to start a program.
        let owner = FileLocks.holder(of: file).flatMap { ProcessTable.isAlive($0) ? $0 : nil }
        throw SystemError(
            code: Errno.busy, "\(owner.map { "process \($0)" } ?? "another process") keeps \(path) locked")
    }

    // MARK: Undoing

    /// Undoes all recorded changes, the last one first, and removes the record. A second call has no effect.
    package func undo() {
        guard !isUndone else { return }
        isUndone = true
        let lock: Descriptor?
        do throws(SystemError) {
            lock = try HostChanges.lock(directory, timeout: HostChanges.endLockTimeout)
        } catch {
            // Leaving changes behind, or not ending, would be worse than a race with the other instance.
            logger.notice(
                "\(error.code == Errno.busy ? error.operation : error.description); the changes are undone without it")
            lock = nil
        }
        HostChanges.undo(log, firewall, logger)
        _ = consume lock
    }

    /// - Parameter firewall: of this process, if `log` is its own record.
    private static func undo(_ log: UndoLog, _ firewall: GuestFirewall?, _ logger: Logger) {
        let others = log.changesOfOthers()
        for change in log.changes.reversed() {
            switch change {
            case .table(let name): removeTable(name, firewall, logger)
            case .switchPort(let port, let bridge):
                if !OpenVSwitch.removePort(port, from: bridge) {
                    logger.warning(
                        """
                        the port \(port) may be left in the Open vSwitch bridge \(bridge); remove it with: \
                        sudo ovs-vsctl del-port \(bridge) \(port)
                        """)
                }
            case .rule(let network, let preference):
                // Fails if the rule was never added, or is already gone: then there is nothing to remove.
                try? NetworkInterfaces.change(ruleFor: network, preference: preference, isAdded: false)
            case .resolver(let interface):
                if NetworkInterfaces.index(of: interface) != nil && SystemdResolved.isHere {
                    SystemdResolved.revert(interface)
                }
            case .resolverFile(let domain): ResolverFiles.system.remove(domain)
            case .setting(let setting, let original):
                let isShared = others.contains { if case .setting(setting, _) = $0 { true } else { false } }
                // The last instance restores a shared setting. A host that has become a router needs it as it is.
                guard !isShared, !setting.isRouters, setting.value != nil else { continue }
                do throws(SystemError) {
                    try setting.set(original)
                } catch {
                    logger.warning("\(error); it was \(original) before")
                }
            }
        }
        log.remove()
    }

    private static func removeTable(_ name: String, _ firewall: GuestFirewall?, _ logger: Logger) {
        do throws(UnclassifiedError) {
            if let firewall {
                try firewall.remove()
            } else {
                try NFTables().run(NATTable.removalScript(table: name))
            }
        } catch {
            logger.warning(
                "\(error); the nftables table \(name) may be left; remove it with: sudo nft delete table inet \(name)")
        }
    }
}
