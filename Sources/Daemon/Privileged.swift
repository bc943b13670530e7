// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Uplinks
import Wire

/// Everything that changes the host, done and undone in one place, with a record on disk of what was done.
///
/// Nothing else in the program needs privilege: a small keeper process could own this object while the switch runs without.
package final class Privileged {
    let record: RunRecord
    let directory: String
    let logger: Logger
    var firewall: GuestFirewall?
    var tap: String?
    var reservations: PortReservations?
    /// Interfaces on which we have switched forwarding on.
    var forwarding: Set<String> = []
    /// Other programs have removed our rules too often: the TAP is down.
    var isGivenUp = false
    var upkeep: TapUpkeep?
    /// The preference of the routing rule that we have added.
    var rulePreference: UInt32?

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
            // Held to the end of this function: nobody else sweeps or claims meanwhile.
            let lock = try lock(directory)
            for dead in RunRecord.leftBehind(in: directory) {
                if !dead.acts.isEmpty { logger.notice("cleaning up after an instance that was killed") }
                undo(dead, nil, logger)
            }
            let (record, holder) = try RunRecord.create(name, in: directory)
            _ = consume lock
            guard let record else { return .held(by: holder) }
            return .claimed(Privileged(record: record, directory: directory, logger: logger))
        } catch {
            throw ExitError(.unavailable, error.description)
        }
    }

    /// The lock under which records are made, compared and removed.
    static func lock(_ directory: String) throws(SystemError) -> Descriptor {
        let file = try Files.open(directory + "/lock", [.readWrite, .create, .noFollow], mode: 0o600)
        try file.lock()
        return file
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
                throw ExitError(.noPermission, "no permission to create a TAP; run this with sudo, or give it the capability CAP_NET_ADMIN (--switch --uplink none is a switch that needs neither)")
            case Errno.busy, Errno.exists, Errno.invalid:
                throw ExitError(.unavailable, "the interface \(name ?? "vmnet") exists already; choose another name with --tap-name, or leave it out")
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
                throw ExitError(.noPermission, "no permission to open the TAP \(name); make it once for your user with: sudo ip tuntap add \(name) mode tap user \(Accounts.userName(Accounts.effectiveUser))")
            case Errno.busy: throw ExitError(.unavailable, "the TAP \(name) is in use by another program")
            case Errno.invalid: throw ExitError(.unavailable, "\(name) is an interface, but not a TAP with one queue")
            default: throw ExitError(.unavailable, error.description)
            }
        }
    }

    /// Brings the TAP up with the gateway's address.
    package func address(_ device: borrowing TapDevice, _ network: GuestNetwork) throws(ExitError) {
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
            throw ExitError([Errno.notPermitted, Errno.accessDenied].contains(error.code) ? .noPermission : .unavailable, error.description)
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
        let lock = try? Privileged.lock(directory)
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
                    if let firewall { try firewall.remove() } else { try nftables?.run(Firewall.removalScript(table: name)) }
                } catch {
                    logger.warning("\(error); the nftables table \(name) may be left")
                }
            case .switchPort(let port, let bridge):
                if !OpenVSwitch.removePort(port, from: bridge) { logger.warning("the port \(port) may be left in the Open vSwitch bridge \(bridge)") }
            case .rule(let network, let preference):
                // Where it was not added after all, or is gone, there is nothing to remove.
                try? NetworkInterfaces.change(ruleFor: network, preference: preference, isAdded: false)
            case .setting(let setting, let before):
                // Another instance still needs it, and will restore it; or somebody has made the host a router meanwhile.
                let isNeeded = others.contains { if case .setting(setting, _) = $0 { true } else { false } }
                guard !isNeeded, everywhere.value != "1", setting.value != nil else { continue }
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
