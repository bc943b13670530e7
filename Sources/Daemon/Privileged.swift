// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Logging
import NetworkModel
import Platform
import Uplinks
import VDESwitch
import Wire

/// Everything that changes the host, done and undone in one place, with a record on disk of what was done.
///
/// Nothing else in the program needs privilege: a small keeper process could own this object while the switch runs
/// without.
package final class Privileged {
    let record: RunRecord
    let directory: String
    let logger: Logger
    var firewall: GuestFirewall?
    var tap: String?
    var reservations: PortReservations?
    var forwarding: EgressForwarding?
    /// Other programs have removed our rules too often: the TAP is down.
    var isGivenUp = false
    var upkeep: TapUpkeep?
    var route: GuestRoute?

    private init(record: RunRecord, directory: String, logger: Logger) {
        self.record = record
        self.directory = directory
        self.logger = logger
    }

    package enum Claim {
        case claimed(Privileged)
        /// The process that has it; 0 if it cannot be told.
        case held(by: Int32)
    }

    /// Undoes what killed instances left behind, then claims `name` for this one.
    /// - Parameter name: what only one instance may have, such as a network.
    package static func claim(_ name: String, in directory: String, logger: Logger) throws(ExitError) -> Claim {
        do throws(SystemError) {
            // Held to the end of this function: no other instance sweeps or claims meanwhile.
            let lock = try lock(directory, for: startPatience)
            for dead in RunRecord.leftBehind(in: directory) {
                if !dead.acts.isEmpty { logger.notice("cleaning up after an instance that was killed") }
                for line in dead.refused {
                    logger.warning(
                        "\(dead.path): '\(PrintableText.line(line))' is nothing that this program records, and is not undone; see who wrote to that file"
                    )
                }
                undo(dead, nil, logger)
            }
            let (record, holder) = try RunRecord.create(name, in: directory)
            _ = consume lock
            guard let record else { return .held(by: holder) }
            return .claimed(Privileged(record: record, directory: directory, logger: logger))
        } catch {
            guard error.code == Errno.busy else { throw ExitError(.unavailable, error.description) }
            throw ExitError(.alreadyRunning, "\(error.operation); wait for that to end, or end it")
        }
    }

    /// For how long (nanoseconds) the lock is waited for: when one starts, where nothing else is there to do, and when
    /// one ends. An instance may hold it while it cleans up after another.
    static let lockPause = 250 * MonotonicClock.millisecond
    static let startPatience = 5 * MonotonicClock.second
    private static let endPatience = MonotonicClock.second

    /// The lock under which records are made, compared and removed.
    /// - Parameter patience: nanoseconds; 0 does not wait.
    /// - Throws: "busy", with whose it is in place of the operation.
    static func lock(_ directory: String, for patience: UInt64) throws(SystemError) -> Descriptor {
        let path = directory + "/lock"
        let file = try Files.open(path, [.readWrite, .create, .noFollow], mode: 0o600)
        if try file.lock(until: MonotonicClock.now + patience) { return file }
        // A lock may outlast who took it, in a child that is about to start a program.
        let holder = FileLocks.holder(of: file).flatMap { Accounts.isAlive($0) ? $0 : nil }
        throw SystemError(
            code: Errno.busy, "\(holder.map { "process \($0)" } ?? "another process") keeps \(path) locked")
    }

    // MARK: TAP

    /// Creates a TAP and gives it its addresses. It goes by itself when its descriptor is closed.
    /// - Throws: 77 without the privilege.
    package func openTAP(named name: String?, mac: MACAddress, mtu: Int) throws(ExitError) -> TapDevice {
        do throws(SystemError) {
            let device = try TapDevice.create(named: name)
            try device.configure(mac: mac, mtu: mtu)
            tap = device.name
            return device
        } catch {
            switch error.code {
            case Errno.notPermitted, Errno.accessDenied:
                throw ExitError(
                    .noPermission,
                    "no permission to create a TAP; run this with sudo, or give it the capability CAP_NET_ADMIN (--switch --uplink none is a switch that needs neither)"
                )
            case Errno.busy, Errno.exists, Errno.invalid:
                throw ExitError(
                    .unavailable,
                    "the interface \(name ?? "vmnet") exists already; choose another name with --tap-name, or leave it out"
                )
            case Errno.noEntry, Errno.noDevice:
                throw ExitError(.unavailable, "\(error); is there a /dev/net/tun? Load the module with: modprobe tun")
            default:
                throw ExitError(.unavailable, error.description)
            }
        }
    }

    /// Opens a TAP that is somebody else's to look after, or makes it. Nothing is to be undone.
    package static func openForeignTAP(_ name: String) throws(ExitError) -> TapDevice {
        do throws(SystemError) {
            return try TapDevice.open(name)
        } catch {
            switch error.code {
            case Errno.notPermitted, Errno.accessDenied:
                throw ExitError(
                    .noPermission,
                    "no permission to open the TAP \(name); make it once for your user with: sudo ip tuntap add \(name) mode tap user \(Accounts.userName(Accounts.effectiveUser))"
                )
            case Errno.busy: throw ExitError(.unavailable, "the TAP \(name) is in use by another program")
            case Errno.invalid: throw ExitError(.unavailable, "\(name) is an interface, but not a TAP with one queue")
            default: throw ExitError(.unavailable, error.description)
            }
        }
    }

    /// Brings the TAP up with the gateway's address.
    func address(_ device: borrowing TapDevice, _ network: GuestNetwork) throws(ExitError) {
        try orUnavailable { () throws(SystemError) in
            try NetworkInterfaces.add(network.gateway, prefixLength: network.network.prefixLength, to: device.index)
            try NetworkInterfaces.configure(device.index, up: true)
        }
    }

    /// Makes the TAP a port of a Linux bridge.
    package func join(_ device: borrowing TapDevice, bridge: UInt32) throws(ExitError) {
        do throws(SystemError) {
            try NetworkInterfaces.configure(device.index, bridge: bridge, up: true)
        } catch {
            // It goes with its descriptor.
            tap = nil
            throw ExitError(
                [Errno.notPermitted, Errno.accessDenied].contains(error.code) ? .noPermission : .unavailable,
                error.description)
        }
    }

    /// Makes the TAP a port of an Open vSwitch bridge.
    package func join(_ device: borrowing TapDevice, openVSwitch bridge: String) throws(ExitError) {
        try orUnavailable { () throws(SystemError) in
            try record.add(.switchPort(device.name, bridge: bridge))
            try NetworkInterfaces.configure(device.index, up: true)
        }
        if let failure = OpenVSwitch.addPort(device.name, to: bridge) {
            throw ExitError(.unavailable, "Open vSwitch did not take \(device.name) into \(bridge): \(failure)")
        }
    }

    // MARK: Undoing

    /// Undoes everything.
    package func undo() {
        let lock: Descriptor?
        do throws(SystemError) {
            lock = try Privileged.lock(directory, for: Privileged.endPatience)
        } catch {
            // It is no reason to leave anything behind, or not to end.
            logger.notice(
                "\(error.code == Errno.busy ? error.operation : error.description); what was changed is put back all the same"
            )
            lock = nil
        }
        Privileged.undo(record, firewall, logger)
        _ = consume lock
    }

    /// - Parameter firewall: of this process, which alone can remove a table that it owns.
    private static func undo(_ record: RunRecord, _ firewall: GuestFirewall? = nil, _ logger: Logger) {
        let others = record.actsOfOthers()
        let nftables = firewall == nil ? NFTables() : nil
        for act in record.acts.reversed() {
            switch act {
            case .table(let name):
                do throws(NFTables.Failure) {
                    if let firewall {
                        try firewall.remove()
                    } else {
                        try nftables?.run(Firewall.removalScript(table: name))
                    }
                } catch {
                    logger.warning("\(error); the nftables table \(name) may be left")
                }
            case .switchPort(let port, let bridge):
                if !OpenVSwitch.removePort(port, from: bridge) {
                    logger.warning("the port \(port) may be left in the Open vSwitch bridge \(bridge)")
                }
            case .rule(let network, let preference):
                // Where it was not added after all, or is gone, there is nothing to remove.
                try? NetworkInterfaces.change(ruleFor: network, preference: preference, isAdded: false)
            case .setting(let setting, let before):
                // Another instance still needs it, and will restore it; or somebody has made the host a router
                // meanwhile.
                let isNeeded = others.contains { if case .setting(setting, _) = $0 { true } else { false } }
                guard !isNeeded, !EgressForwarding.isRouter, setting.value != nil else { continue }
                do throws(SystemError) {
                    try setting.set(before)
                } catch {
                    logger.warning("\(error); it was \(before) before")
                }
            }
        }
        record.remove()
    }
}
