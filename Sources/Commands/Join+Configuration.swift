// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import NetworkModel
import Platform
import Uplink
import VDEPlug
import Wire

/// How the options become a configuration.
extension Join {
    /// The options as a configuration. Changes nothing on the host.
    /// - Throws: `ValidationError` that names the options that cannot be combined, or the value that is invalid.
    func makeConfiguration() throws -> Configuration {
        try file.check()
        let locator = try makeLocator(), group = try makeGroup()
        // Listeners first: the sockets of the service manager count as listeners in the rules below. With other
        // listeners and no VDE argument, the switch has no directory.
        let inheriting = try listeners.makeListeners(mode: own.vdeMode?.value, group: group)
        let framework = [.auto, .vmnet].contains(uplink) ? Root.vmnet : nil
        let resolved = try OptionRules.check(given(locator, hasVmnet: framework != nil))
        let role =
            try own.makeSwitch(locator, group: group, hasOtherListeners: vde == nil && listeners.isGiven).map {
                Configuration.SwitchRole.server($0)
            } ?? .client(locator)
        var configuration = Configuration(role: role, mode: try makeMode())
        configuration.vdeGroup = group
        configuration.listeners = inheriting
        configuration.isIsolating = own.vmnetIsolation
        configuration.uplink = resolved
        configuration.givenUplink = uplink
        try applyMTU(to: &configuration)
        configuration.network = try makeNetwork()
        configuration.published = try publishing.makePublished(configuration.network)
        configuration.interfaceID = vmnetInterfaceId?.bytes
        configuration.bridgeHelper = try bridgeHelper.map { Files.absolute(try nonEmpty($0, "--bridge-helper")) }
        let vmnetInUse = resolved == .user ? nil : framework
        try addresses.apply(to: &configuration, hasSystemServer: vmnetInUse != nil)
        try leases.apply(to: &configuration)
        try vmnet.apply(to: &configuration, vmnet: vmnetInUse)
        try policy.apply(to: &configuration)
        try servers.apply(to: &configuration)
        try controlling.apply(to: &configuration)
        configuration.tapName = try tapName.map(Join.interfaceName)
        configuration.workers = try threads.makeWorkers()
        if let statsInterval, !(1...1_000_000).contains(statsInterval) {
            throw ValidationError("--stats-interval: \(statsInterval) is not between 1 and 1000000 seconds")
        }
        configuration.statsInterval = statsInterval
        configuration.stateDirectory = try stateDir.map { try nonEmpty($0, "--state-dir") }
        configuration.pidfile = try pidfile.map { Files.absolute(try nonEmpty($0, "--pidfile")) }
        return configuration
    }

    private func makeLocator() throws -> VirtualNetworkLocator {
        do {
            return try VirtualNetworkLocator(vde, home: CurrentProcess.environment("HOME"))
        } catch {
            throw ValidationError(error.description)
        }
    }

    /// The group of the sockets; nil for none.
    private func makeGroup() throws -> UInt32? {
        guard let vdeGroup else { return Join.defaultSocketGroup }
        guard let group = UserDatabase.group(named: vdeGroup) else {
            throw ValidationError("--vde-group: there is no group '\(vdeGroup)'; getent group lists those there are")
        }
        return group
    }

    /// From what every host must accept (RFC 791 section 3.1) to what a TAP of Linux can carry.
    private static let mtus = 576...65_521

    private func applyMTU(to configuration: inout Configuration) throws {
        guard let vmnetMtu else { return }
        guard Join.mtus.contains(vmnetMtu) else {
            throw ValidationError(
                "--vmnet-mtu: \(vmnetMtu) is not between \(Join.mtus.lowerBound) and \(Join.mtus.upperBound)")
        }
        configuration.mtu = vmnetMtu
        configuration.isMTUFixed = true
    }

    private static func interfaceName(_ name: String) throws -> String {
        guard NetworkInterfaces.isName(name) else {
            throw ValidationError(
                """
                --tap-name: '\(name)' cannot be an interface's name: use 1 to \
                \(NetworkInterfaces.maximumNameLength) characters without white space, / : % " and \\
                """
            )
        }
        return name
    }

    /// The options as the rules see them.
    private func given(_ locator: VirtualNetworkLocator, hasVmnet: Bool) -> GivenOptions {
        var given = GivenOptions()
        given.uplink = uplink
        given.mode = vmnetMode ?? .shared
        given.hasVmnet = hasVmnet
        given.listeners = listeners.listeners
        if own.isSwitch {
            given.listeners.insert(.ownSwitch)
        } else if vde != nil || !listeners.isGiven {
            if case .pointToPoint = locator { given.listeners.insert(.cable) } else { given.listeners.insert(.joined) }
        }
        own.note(in: &given)
        listeners.note(in: &given)
        given.note(.vdeGroup, vdeGroup != nil)
        given.note(.uplinkNone, uplink == .none)
        given.note(.mode, vmnetMode != nil)
        given.note(.bridged, vmnetMode == .bridged)
        given.note(.interface, vmnetInterface != nil)
        given.note(.bridgeHelper, bridgeHelper != nil)
        given.note(.gateway, vmnetGateway != nil)
        given.note(.dhcpEnd, vmnetDhcpEnd != nil)
        given.note(.mask, vmnetMask != nil)
        given.note(.interfaceID, vmnetInterfaceId != nil)
        given.note(.mtu, vmnetMtu != nil)
        publishing.note(in: &given)
        given.note(.tapName, tapName != nil)
        vmnet.note(in: &given)
        addresses.note(in: &given)
        leases.note(in: &given)
        policy.note(in: &given)
        servers.note(in: &given)
        controlling.note(in: &given)
        return given
    }

    private func nonEmpty(_ value: String, _ option: String) throws -> String {
        if value.isEmpty { throw ValidationError("\(option) needs a path") }
        return value
    }

    private func makeMode() throws -> NetworkMode {
        switch vmnetMode {
        case .bridged?:
            guard let vmnetInterface, !vmnetInterface.isEmpty else {
                throw ValidationError(
                    "--vmnet-interface needs the name of an interface; vde_vmnet interfaces lists them")
            }
            return .bridged(interface: vmnetInterface)
        case .host?: return .host
        case .shared?, nil: return .shared
        }
    }

    private func makeNetwork() throws -> GuestNetwork? {
        guard let gateway = vmnetGateway else { return nil }
        let mask = vmnetMask?.address ?? IPv4Address(0xffff_ff00)
        guard let network = IPv4Network(containing: gateway, mask: mask), (8...30).contains(network.prefixLength) else {
            throw ValidationError(
                "--vmnet-mask: \(mask) is not a mask of 8 to 30 leading ones, such as 255.255.255.0 or 24")
        }
        guard network.base.isPrivate, network.broadcast.isPrivate else {
            throw ValidationError(
                """
                --vmnet-gateway: \(network) is not private; use one from 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16 \
                (RFC 1918)
                """
            )
        }
        guard gateway != network.base, gateway != network.broadcast else {
            throw ValidationError(
                """
                --vmnet-gateway: \(gateway) is the \(gateway == network.base ? "first" : "last") address of \
                \(network), which is not a host address; choose another
                """
            )
        }
        if let end = vmnetDhcpEnd {
            guard network.contains(end), end != network.broadcast else {
                throw ValidationError(
                    "--vmnet-dhcp-end: \(end) is not an address for hosts in \(network), the network of the gateway")
            }
            guard gateway < end else {
                throw ValidationError("--vmnet-dhcp-end: \(end) must lie above the gateway \(gateway)")
            }
        } else {
            guard gateway.advanced(by: 1) < network.broadcast else {
                throw ValidationError("--vmnet-gateway: \(gateway) leaves no address for guests above it in \(network)")
            }
        }
        return GuestNetwork(gateway: gateway, prefixLength: network.prefixLength, lastLease: vmnetDhcpEnd)
    }
}
