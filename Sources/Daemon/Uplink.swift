// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Lifecycle
import Logging
import NetworkModel
import Platform
import Switching
import Uplinks
import Wire

/// The way out, opened and ready to be attached to the forwarder.
struct Uplink {
    /// The port to attach; its descriptor is not owned by anybody until it is.
    let port: PortConfiguration
    /// What the daemon is on the guests' network; nil where it is not on it.
    let presence: Presence?
    /// For the ready line: `192.168.105.0/24 on vmnet0, gateway 192.168.105.1`.
    let summary: String

    struct Presence {
        let network: GuestNetwork
        /// Of the host, or of the address service where the host's is not known.
        let hardware: MACAddress
        /// nil where it is not ours to use.
        let interface: String?
    }

    /// Opens the uplink that `configuration` asks for.
    /// - Returns: the uplink, and who undoes it.
    static func open(_ configuration: Configuration, logger: Logger) throws(ExitError) -> (Uplink, Privileged) {
        let directory = try Directories.runtime()
        switch configuration.mode {
        case .shared, .host: return try openLed(configuration, directory, logger)
        case .bridged(let interface): return try openBridged(interface, configuration, directory, logger)
        }
    }

    // MARK: A network of our own

    private static func openLed(
        _ configuration: Configuration, _ directory: String, _ logger: Logger
    ) throws(ExitError) -> (Uplink, Privileged) {
        let (network, privileged) = try claimNetwork(configuration, directory, logger)
        let hardware = configuration.hardwareAddress(gateway: network.gateway)
        do throws(ExitError) {
            try configuration.checkGuests(of: network)
            if configuration.egress.opensHostLoopback {
                throw ExitError(
                    .usage,
                    "--host-loopback goes with --uplink user; through a TAP guests reach what listens on \(network.gateway)"
                )
            }
            let tap = try privileged.openTAP(named: configuration.tapName, mac: hardware, mtu: configuration.mtu)
            let name = tap.name
            var rules = Firewall(tap: name, index: tap.index, network: network.network)
            rules.isClosed = configuration.mode == .host
            rules.isIsolating = configuration.isIsolating
            rules.published = configuration.published
            rules.egress = configuration.egress
            rules.gateway = network.gateway
            try privileged.start(rules, for: network, on: tap)
            // What is longer than the network's MTU is the kernel's: it takes it, cuts it up on the way out, or answers
            // it, as routers do.
            let port = PortConfiguration(
                name: name, kind: .tap, role: .uplink,
                descriptor: try orUnavailable { () throws(SystemError) in try tap.descriptor.duplicate().release() },
                maximumFrame: FrameLimits.device, receivesUnknown: false)
            let uplink = Uplink(
                port: port, presence: Presence(network: network, hardware: hardware, interface: name),
                summary: "\(network.network) on \(name), gateway \(network.gateway)")
            return (uplink, privileged)
        } catch {
            privileged.undo()
            throw error
        }
    }

    /// Chooses a network that nobody here uses, and keeps others from it.
    static func claimNetwork(
        _ configuration: Configuration, _ directory: String, _ logger: Logger
    ) throws(ExitError) -> (GuestNetwork, Privileged) {
        let used = try orUnavailable(UsedSubnet.ofHost)
        for network in configuration.network.map({ [$0] }) ?? SubnetAllocator.candidates {
            if configuration.network == nil, SubnetAllocator.conflict(of: network.network, with: used) != nil {
                continue
            }
            let name = network.network.description.replacing("/", with: "-")
            switch try Privileged.claim(name, in: directory, logger: logger) {
            case .held(let process):
                if configuration.network == nil { continue }
                throw ExitError(
                    .alreadyRunning,
                    "\(network.network) is served by another vde_vmnet\(process > 0 ? " (process \(process))" : ""); stop it first, or choose another --vmnet-gateway"
                )
            case .claimed(let privileged):
                if let conflict = SubnetAllocator.conflict(of: network.network, with: used) {
                    privileged.undo()
                    throw ExitError(
                        .unavailable,
                        "\(network.network) overlaps \(conflict.network), which this host uses on \(conflict.interface); choose another --vmnet-gateway, or leave it out"
                    )
                }
                return (network, privileged)
            }
        }
        throw ExitError(
            .unavailable, "every network that could be chosen is in use on this host; choose one with --vmnet-gateway")
    }

    // MARK: Somebody else's network

    private static func openBridged(
        _ interface: String, _ configuration: Configuration, _ directory: String, _ logger: Logger
    ) throws(ExitError) -> (Uplink, Privileged) {
        guard let index = NetworkInterfaces.index(of: interface) else {
            let others = NetworkInterfaces.names().filter { Bridging.refusal(of: $0) == nil }
            throw ExitError(
                .unavailable,
                "there is no interface \(interface); --vmnet-interface takes one of: \(others.isEmpty ? "(this host has none)" : others.joined(separator: ", "))"
            )
        }
        if let reason = Bridging.refusal(of: interface) {
            throw ExitError(
                .usage, "--vmnet-interface \(interface): \(reason); vde_vmnet interfaces lists what can be bridged")
        }
        guard
            case .claimed(let privileged) = try Privileged.claim(
                "bridged-\(interface)-\(Accounts.processID)", in: directory, logger: logger)
        else {
            throw ExitError(.alreadyRunning, "another process has this process's id in \(directory)")
        }
        do throws(ExitError) {
            let limit = FrameLimits.link(mtu: Bridging.mtu(of: interface))
            let bridging = Bridging(interface: interface)
            try refuseOptions(without: bridging, interface, configuration)
            switch bridging {
            case .bridge, .openVSwitch:
                let tap = try openPort(of: interface, index, bridging, configuration, privileged)
                let port = PortConfiguration(
                    name: tap.name, kind: .tap, role: .uplink,
                    descriptor: try orUnavailable { () throws(SystemError) in try tap.descriptor.duplicate().release()
                    }, maximumFrame: limit)
                return (
                    Uplink(port: port, presence: nil, summary: "bridged to \(interface) by \(tap.name)"), privileged
                )
            case .wireless:
                throw ExitError(
                    .usage,
                    "--vmnet-interface \(interface): a Wi-Fi access point drops frames of other stations' addresses; use --vmnet-mode shared"
                )
            case .nic:
                let socket = try openPacketSocket(index, interface)
                logger.notice(
                    "guests and this host do not reach each other through \(interface) in bridged mode; with a Linux bridge as --vmnet-interface they do"
                )
                let port = PortConfiguration(
                    name: interface, kind: .packet, role: .uplink,
                    descriptor: try orUnavailable { () throws(SystemError) in try socket.duplicate().release() },
                    maximumFrame: limit)
                return (Uplink(port: port, presence: nil, summary: "bridged to \(interface)"), privileged)
            }
        } catch {
            privileged.undo()
            throw error
        }
    }

    /// Refuses options that have no effect with this kind of interface, which the command line does not show.
    private static func refuseOptions(
        without bridging: Bridging, _ interface: String, _ configuration: Configuration
    ) throws(ExitError) {
        func refuse(_ option: String, _ reason: String) -> ExitError {
            ExitError(.usage, "\(option) does not go with --vmnet-interface \(interface): \(reason)")
        }
        if configuration.bridgeHelper != nil, bridging != .bridge {
            throw refuse("--bridge-helper", "it is for Linux bridges, and this is none")
        }
        guard bridging == .nic else { return }
        if configuration.tapName != nil {
            throw refuse("--tap-name", "a NIC is bridged by a packet socket, without a TAP; a Linux bridge takes one")
        }
        // The line of JSON for --fd shows it.
        if configuration.interfaceID != nil, configuration.listeners.descriptors.isEmpty {
            throw refuse(
                "--vmnet-interface-id", "a NIC is bridged by a packet socket, which has no hardware address of its own")
        }
    }

    /// A TAP that is a port of this bridge: ours, or where that takes privilege we do not have, one of QEMU's helper.
    private static func openPort(
        of bridge: String, _ index: UInt32, _ bridging: Bridging, _ configuration: Configuration,
        _ privileged: Privileged
    ) throws(ExitError) -> TapDevice {
        // A bridge without an address of its own takes its lowest port's: ours must not be it, even beside addresses
        // made up by others.
        let seed = configuration.interfaceID ?? Array("\(bridge)-\(Accounts.processID)".utf8)
        let hardware = MACAddress(MACAddress(locallyAdministeredFrom: seed).value | 0xfeff_0000_0000)
        do throws(ExitError) {
            let tap = try privileged.openTAP(named: configuration.tapName, mac: hardware, mtu: Bridging.mtu(of: bridge))
            if bridging == .bridge {
                try privileged.join(tap, bridge: index)
            } else {
                try privileged.join(tap, openVSwitch: bridge)
            }
            return tap
        } catch {
            // The helper knows Linux bridges only, and chooses the name.
            guard error.status == .noPermission, bridging == .bridge, configuration.tapName == nil else { throw error }
            return try askHelper(for: bridge, configuration.bridgeHelper)
        }
    }

    private static func askHelper(for bridge: String, _ program: String?) throws(ExitError) -> TapDevice {
        do throws(BridgeHelper.Failure) {
            return try BridgeHelper.open(bridge, program: program)
        } catch {
            throw ExitError(
                .noPermission, "no permission to make a TAP a port of \(bridge), and \(error); or run this with sudo")
        }
    }

    private static func openPacketSocket(_ index: UInt32, _ interface: String) throws(ExitError) -> Descriptor {
        do throws(SystemError) {
            return try NetworkInterfaces.openPacketSocket(on: index)
        } catch {
            guard [Errno.notPermitted, Errno.accessDenied].contains(error.code) else {
                throw ExitError(.unavailable, error.description)
            }
            throw ExitError(
                .noPermission,
                "no permission to open a packet socket on \(interface); run this with sudo, or give it the capability CAP_NET_RAW"
            )
        }
    }

}
