// SPDX-License-Identifier: Apache-2.0
import FrameIO
import HostChanges
import Lifecycle
import Logging
import NameService
import NetworkConfiguration
import NetworkControl
import NetworkModel
import Platform
import RouterService
import Sessions
import Switching
import TapUplink
import TapWithNAT
import Uplink
import UserUplink
import VmnetUplink

extension Daemon {
    /// Opens the uplink of the configuration, with its rules and its services.
    /// - Returns: false if a signal has ended the daemon meanwhile.
    func openUplink() throws(ExitError) -> Bool {
        if configuration.egress.deniesPrivate { configuration.egress.localNetworks = Daemon.localNetworks() }
        defer { watchLocalNetworks() }
        do throws(ExitError) {
            guard let made = try makeUplink(configuration.uplink) else { return true }
            uplinkReason = chosenReason
            guard try open(made) else { return false }
        } catch {
            // Root gets `noPermission` from vmnet for reasons that a user-mode NAT would only hide.
            guard configuration.uplink == .auto, !configuration.mode.isBridged, error.status == .noPermission,
                vmnet == nil || CurrentProcess.effectiveUser != 0
            else { throw error }
            uplink?.stop()
            uplink?.undo()
            uplink = nil
            uplinkReason = "auto, and the privileges for a better one are missing: \(error)"
            let made = try makeUserUplink(configuration.uplinkOptions)
            guard try open(made) else { return false }
            logger.notice("\(UserUplink.limitations)")
        }
        return true
    }

    /// Why the configuration leads to its uplink.
    private var chosenReason: String {
        let given: String? =
            configuration.givenUplink == .auto ? nil : "--uplink \(configuration.givenUplink.rawValue)"
        if case .bridged(let interface) = configuration.mode {
            let mode = "--vmnet-mode bridged --vmnet-interface \(interface)"
            return given.map { "\($0) \(mode)" } ?? mode
        }
        if let given { return given }
        guard configuration.uplink == .auto else { return "auto: options that no other uplink has" }
        return vmnet != nil ? "auto: vmnet.framework is there" : "auto: a TAP is possible"
    }

    /// The uplink factory. Nil for a switch without an uplink.
    private func makeUplink(_ kind: Configuration.UplinkKind) throws(ExitError) -> (any Uplink)? {
        let options = configuration.uplinkOptions
        switch (kind, options.mode) {
        case (.none, _):
            undoKilled()
            return nil
        case (.vmnet, _): return try makeVmnetUplink(options)
        case (.auto, _) where vmnet != nil: return try makeVmnetUplink(options)
        case (.user, _): return try makeUserUplink(options)
        case (.tap, .bridged(let interface)), (.auto, .bridged(let interface)):
            return try makeBridgedUplink(to: interface, options, uplinkContext)
        case (.tap, _), (.auto, _):
            guard TapUplink.needsNAT6(options, logger) else { return TapUplink(options, uplinkContext) }
            return TapWithNAT(options, flowLimit: descriptors.flows, uplinkContext)
        }
    }

    /// Undoes the changes of killed instances, which the other uplinks do when they reserve their network.
    private func undoKilled() {
        guard CurrentProcess.effectiveUser == 0, Files.exists(StateDirectories.system),
            let directory = try? StateDirectories.runtime()
        else { return }
        _ = HostChanges.changesOfOthers(in: directory, logger: logger)
    }

    private func makeVmnetUplink(_ options: UplinkOptions) throws(ExitError) -> any Uplink {
        guard let vmnet else {
            throw ExitError(
                .unavailable, "--uplink vmnet: vmnet.framework is part of macOS only; use --uplink tap here")
        }
        if options.egress != EgressPolicy() {
            throw ExitError(
                .usage,
                """
                vmnet.framework cannot restrict where guests go; use --uplink user for --egress, --deny or \
                --host-loopback
                """)
        }
        return VmnetUplink(
            vmnet, configuration.vmnetOptions(vmnet), options, hasDHCPServer: configuration.dhcp != .off,
            uplinkContext)
    }

    private func makeUserUplink(_ options: UplinkOptions) throws(ExitError) -> any Uplink {
        var options = options
        options.filtering = configuration.filtering
        options.outbound = configuration.outbound
        options.proxy = try configuration.proxy.map { proxy throws(ExitError) in try proxy.server(logger) }
        return try UserUplink(
            options, flowLimit: descriptors.flows, descriptorLimit: descriptors.total, uplinkContext
        ) { addressing throws(ExitError) in
            try makeNames(addressing).inlet
        }
    }

    private var uplinkContext: UplinkContext {
        UplinkContext(
            loop: loop, control: control, logger: logger,
            attach: { [unowned self] configuration in
                let port = session?.attachDevice(configuration)
                if port != nil { networkControl?.uplinkChanged(isConnected: true) }
                return port
            },
            detach: { [unowned self] port in
                session?.detachDevice(port)
                networkControl?.uplinkChanged(isConnected: false)
            },
            onChange: { [unowned self] in router?.setEgress(uplink?.hasEgressIPv6 ?? false) },
            onFailure: { [unowned self] in fail($0) })
    }

    private func open(_ made: any Uplink) throws(ExitError) -> Bool {
        // Assigned first, so that whatever `open` has started is stopped at the end.
        uplink = made
        guard try made.open() else { return false }
        if made.isBridged { return true }
        let addressing = made.hostAddressing
        setRules(
            configuration.guestRules(
                of: addressing?.network, hardware: addressing?.gatewayHardware,
                gatewayIPv6: addressing?.gatewayIPv6 ?? []))
        if let addressing { try startServices(addressing, terminatesTCP: !made.terminatesTCP) }
        return true
    }

    /// Makes a TAP that the host's administrator configures a port of this process's switch.
    func attach(tap name: String) throws(ExitError) {
        let device = try TapDevice.openForSwitch(name)
        let descriptor = try orUnavailable { () throws(SystemError) in try device.descriptor.duplicate().release() }
        let port = PortConfiguration(
            name: name, kind: .tap, role: .guest, descriptor: descriptor, maximumFrame: FrameLimits.device)
        guard session?.attachDevice(port) != nil else {
            throw ExitError(.unavailable, "no port is left for the TAP \(name)")
        }
    }
}
