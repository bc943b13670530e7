// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Uplinks
import Wire

/// Everything that changes the host, done and undone in one place, with a record on disk of what was done.
///
/// Nothing else in the program needs privilege: a small keeper process could own this object while the switch runs without.
package final class Privileged {
    private let record: RunRecord
    private let directory: String
    private let logger: Logger
    private var firewall: Firewall?
    private var tap: String?
    private var reservations: PortReservations?
    /// Interfaces on which we have switched forwarding on.
    private var forwarding: Set<String> = []

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
                undo(dead, logger)
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
    private static func lock(_ directory: String) throws(SystemError) -> Descriptor {
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

    // MARK: NAT

    /// Lets guests out: forwarding on the TAP and the interfaces that lead out, and masquerading. Lets others in at the ports `published`.
    /// - Parameter egress: where guests may go.
    package func startNAT(for guests: GuestNetwork, publishing published: [PublishedPort] = [], egress: EgressPolicy = EgressPolicy()) throws(ExitError) {
        guard let tap else { return }
        reservations = try PortReservations(published)
        do throws(SystemError) {
            // Goes with the TAP.
            try KernelSetting.forwarding(on: tap).set("1")
            if !published.isEmpty { try KernelSetting(path: "net/ipv4/conf/\(tap)/route_localnet").set("1") }
        } catch {
            throw ExitError(.noPermission, "\(error); forwarding for the guests cannot be switched on")
        }
        firewall = Firewall(tap: tap, network: guests.network)
        firewall!.published = published
        firewall!.egress = egress
        firewall!.gateway = guests.gateway
        try orUnavailable { () throws(SystemError) in try record.add(.table(Firewall.tableName(tap: tap))) }
        enableForwarding()
        try apply()
    }

    /// The network has changed: other interfaces may lead out now, or somebody else may have made the host a router.
    package func refreshNAT() {
        guard firewall != nil else { return }
        let before = firewall
        enableForwarding()
        guard firewall != before else { return }
        do throws(ExitError) {
            try apply()
        } catch {
            logger.error("\(error)")
        }
    }

    private func apply() throws(ExitError) {
        do throws(Firewall.Failure) {
            try Firewall.apply(firewall!.script)
        } catch {
            throw ExitError(.unavailable, error.description)
        }
    }

    private static let everywhere = KernelSetting(path: "net/ipv4/conf/all/forwarding")

    private func enableForwarding() {
        guard let tap, let lock = try? Privileged.lock(directory), let egress = try? EgressInterfaces.current(except: tap) else { return }
        let others = record.actsOfOthers()
        for interface in egress where !forwarding.contains(interface) {
            let setting = KernelSetting.forwarding(on: interface)
            // Another instance may have switched it on: then what it found is what was there before us all.
            var original: String?
            for case .setting(setting, let before) in others { original = before }
            guard let before = original ?? setting.value, before == "0" else { continue }
            do throws(SystemError) {
                try record.add(.setting(setting, before: before))
                try setting.set("1")
                forwarding.insert(interface)
                logger.info("forwarding for guests through \(interface)")
            } catch {
                logger.warning("\(error); guests do not get out through \(interface)")
            }
        }
        _ = consume lock
        // Once the host is a router for all, as Docker makes it, our guards would stand in the way of what others want.
        firewall!.guarded = Privileged.everywhere.value == "1" ? [] : forwarding.sorted()
    }

    // MARK: Undoing

    /// Undoes everything.
    package func undo() {
        let lock = try? Privileged.lock(directory)
        Privileged.undo(record, logger)
        _ = consume lock
    }

    private static func undo(_ record: RunRecord, _ logger: Logger) {
        let others = record.actsOfOthers()
        for act in record.acts.reversed() {
            switch act {
            case .table(let name):
                do throws(Firewall.Failure) {
                    try Firewall.apply(Firewall.removalScript(table: name))
                } catch {
                    logger.warning("\(error); the nftables table \(name) may be left")
                }
            case .switchPort(let port, let bridge):
                if !OpenVSwitch.removePort(port, from: bridge) { logger.warning("the port \(port) may be left in the Open vSwitch bridge \(bridge)") }
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
