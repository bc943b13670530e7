// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Lifecycle
import Logging
import NameService
import NetworkModel
import Platform
import Switching
import Uplinks
import Wire

extension Daemon {
    /// Returns false if a signal has ended it before.
    func openWayOut(_ session: any NetworkSession) throws(ExitError) -> Bool {
        switch configuration.uplink {
        case .none: return true
        case .vmnet: return try openVmnet(session)
        case .tap: try openUplink(session)
        case .user: try openUser(session)
        case .auto:
            do throws(ExitError) {
                if vmnet != nil { return try openVmnet(session) }
                try openUplink(session)
            } catch {
                // To root vmnet says no for other reasons than a user's.
                if case .bridged = configuration.mode { throw error }
                guard error.status == .noPermission, vmnet == nil || Accounts.effectiveUser != 0 else { throw error }
                vmnetLink = nil
                try openUser(session)
                logger.notice("\(UserLink.loss)")
            }
        }
        return true
    }

    private func openUser(_ session: any NetworkSession) throws(ExitError) {
        let resolvers = Resolvers()
        let link = try UserLink(
            configuration, resolvers: resolvers, descriptors: descriptors, loop: loop, control: control, logger: logger
        ) { [unowned self] in detach($0, session) }
        // Before it is opened: what was started is ended with it.
        userLink = link
        try link.open { attach($0, session) }
        setRules(link.presence, others: link.gatewayIPv6)
        try startServices(link.presence, nameServers: link.nameServers)
        names = link.names
    }

    private func openUplink(_ session: any NetworkSession) throws(ExitError) {
        let (uplink, privileged) = try Uplink.open(configuration, logger: logger)
        self.uplink = uplink
        self.privileged = privileged
        guard let port = attach(uplink.port, session) else {
            throw ExitError(.unavailable, "no port is left for the uplink")
        }
        uplinkPort = port
        guard let presence = uplink.presence else { return }
        control.addStatic(presence.hardware, at: port)
        setRules(presence, others: [IPv6Address(linkLocalFrom: presence.hardware)])
        try startServices(presence)
    }

    /// Returns false if a signal has ended it before.
    private func openVmnet(_ session: any NetworkSession) throws(ExitError) -> Bool {
        guard let vmnet else {
            throw ExitError(
                .unavailable, "--uplink vmnet: vmnet.framework is part of macOS only; use --uplink tap here")
        }
        if configuration.egress != EgressPolicy() {
            throw ExitError(
                .usage,
                "vmnet.framework cannot restrict where guests go; use --uplink user for --egress or --host-loopback")
        }
        let link = VmnetLink(vmnet, configuration.vmnetOptions(vmnet), loop: loop, control: control, logger: logger) {
            [unowned self] in
            attach($0, session)
        } detach: { [unowned self] in
            detach($0, session)
        }
        // Before it is started: what was started is ended with it.
        vmnetLink = link
        guard let parameters = try link.start() else { return false }
        vmnetParameters = parameters
        if case .bridged = configuration.mode {
            vmnetSummary = "bridged by vmnet"
            return true
        }
        // Where there is to be no server, Apple's is not asked either.
        if configuration.dhcp == .off { control.setPolicy(ServicePolicy(withholdsDHCP: true)) }
        setRules(configuration.guestRules(gateway: (parameters.network ?? configuration.network)?.gateway))
        // Nobody says that a network of an identifier has addresses of the host's.
        guard let network = parameters.network ?? configuration.network else {
            if configuration.dhcp != .off {
                logger.notice(
                    "vmnet.framework tells no addresses of this network, so none are given out; choose them with --vmnet-gateway"
                )
            }
            vmnetSummary = "a network by vmnet"
            return true
        }
        try configuration.checkGuests(of: network)
        vmnetSummary = "\(network.network) by vmnet, gateway \(network.gateway)"
        // The host's own address is its own affair; ours is the address service's.
        let service = configuration.hardwareAddress(gateway: network.gateway)
        try startServices(Uplink.Presence(network: network, hardware: service, interface: nil))
        return true
    }

    private func attach(_ port: PortConfiguration, _ session: any NetworkSession) -> PortNumber? {
        if let own = session as? SwitchSession { return own.attachDevice(port) }
        return control.attach(port)
    }

    func detach(_ port: PortNumber, _ session: any NetworkSession) {
        if let own = session as? SwitchSession { own.detachDevice(port) } else { control.detach(port) }
    }

    /// Makes a TAP that the host looks after a port of our switch.
    func attach(tap name: String) throws(ExitError) {
        let device = try Privileged.openForeignTAP(name)
        let descriptor = try orUnavailable { () throws(SystemError) in try device.descriptor.duplicate().release() }
        let port = PortConfiguration(
            name: name, kind: .tap, role: .guest, descriptor: descriptor, maximumFrame: FrameLimits.device)
        guard let session, attach(port, session) != nil else {
            throw ExitError(.unavailable, "no port is left for the TAP \(name)")
        }
    }
}
