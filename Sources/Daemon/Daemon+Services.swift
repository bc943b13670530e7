// SPDX-License-Identifier: Apache-2.0
import DHCPService
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
import TFTPService
import Uplink
import Wire

extension Daemon {
    /// Starts the services for guests of a network that the uplink makes: DHCP, and DNS if the gateway has none.
    /// - Parameter terminatesTCP: guests' TCP connections to the DNS proxy end here, because the uplink does not
    ///   terminate them.
    func startServices(_ addressing: HostAddressing, terminatesTCP: Bool) throws(ExitError) {
        let network = addressing.network
        var dhcp = DHCPConfiguration(
            network: network.network, server: network.gateway, serverHardware: addressing.hardware,
            first: network.firstLease, last: network.lastLease)
        dhcp.mtu = UInt16(configuration.mtu)
        let isShared = configuration.mode == .shared
        // In host mode guests get no router and no name server, because the outside is closed to them.
        if isShared {
            if !addressing.answersDNS, names == nil { _ = try makeNames(addressing) }
            dhcp.router = configuration.withholdsRouter ? nil : network.gateway
            dhcp.nameServers = addressing.answersDNS || names != nil ? [network.gateway] : []
        }
        let facts: HostFacts? =
            isShared
            ? HostFacts(
                addressing, configuration, domain: names == nil ? nil : configuration.domain, hosts: names?.names.hosts)
            : nil
        facts?.apply(to: &dhcp)
        names?.names.setIPv6(gateway: addressing.gatewayIPv6, addressing.network6)
        startRouter(addressing, facts, dhcp)
        try names?.open(terminatesTCP: terminatesTCP)
        try openHostNames()
        dhcp.reservations = configuration.reservations
        dhcp.guestOptions = configuration.guestOptions
        dhcp.boot = configuration.boot
        if let leaseTime = configuration.leaseTime { dhcp.leaseTime = leaseTime }
        let mayHaveOtherServers = session?.mayHaveOtherServers ?? false
        dhcp.hasKnownPorts = session?.ownsSwitch ?? false
        // This server does not have the leases of another server, which may be a guest.
        dhcp.isAuthoritative = !mayHaveOtherServers && configuration.allowedServers.isEmpty
        guard configuration.dhcp == .auto || configuration.dhcp == .builtin else { return }
        let service = try makeDHCPServer(
            dhcp, yieldsToOthers: configuration.dhcp == .auto && mayHaveOtherServers)
        if let facts { service.refreshConfiguration = { facts.apply(to: &$0) } }
        try serveBootFiles(addressing, to: service)
    }

    /// Starts the service that advertises the guests' IPv6 network, if the uplink does not.
    private func startRouter(_ addressing: HostAddressing, _ facts: HostFacts?, _ dhcp: DHCPConfiguration) {
        guard let network = addressing.network6, let own = addressing.gatewayIPv6.first else { return }
        let router = addressing.router6
        var contents = RouterService.Contents(
            network, address: router?.linkLocal ?? own, hardware: router?.hardware ?? addressing.hardware)
        contents.isRouter = configuration.mode == .shared && !configuration.withholdsRouter
        contents.hasEgress = uplink?.hasEgressIPv6 ?? false
        if names != nil { contents.nameServers = [network.gateway] }
        let service = RouterService(contents, loop: loop, control: control, logger: logger)
        service.refresh = { [unowned self] contents in
            var current = dhcp
            facts?.apply(to: &current)
            contents.mtu = Int(current.mtu)
            contents.searchDomains =
                configuration.guestOptions.searchDomains?.map(\.description) ?? current.searchDomains
            guard dhcpServer != nil else { return }
            contents.reservations = [:]
            for one in configuration.reservations {
                contents.reservations[one.hardware] = one.address6(in: network)
            }
        }
        self.router = service
        let isRouter = contents.isRouter
        // Guests may have static routes.
        if isRouter || configuration.egress.deniesPrivate || names != nil {
            nat64?.stop()
            nat64 = NAT64Discovery(loop: loop, logger: logger) { [unowned self] in
                uplink?.hasEgressIPv6 ?? false
            } onResult: { [unowned self] in
                noteTranslators($0)
                if isRouter { self.router?.setNAT64($0.first) }
            }
        }
        logger.info("guests have IPv6 addresses of \(network), gateway \(network.gateway)")
    }

    /// Serves the files of `--boot` to guests with a lease.
    private func serveBootFiles(_ addressing: HostAddressing, to leases: DHCPServerRunner) throws(ExitError) {
        guard let bootDirectory else { return }
        // A network that could not be opened, and is replaced by a user-mode NAT, may have a server.
        bootFiles?.close()
        let server = try BootFileServer(
            bootDirectory, addressing.network, hardware: addressing.hardware, mtu: configuration.mtu, loop: loop,
            control: control, logger: logger)
        server.isHolder = { [unowned leases] in leases.holds($0, $1) }
        bootFiles = server
    }

    private func makeDHCPServer(
        _ dhcp: DHCPConfiguration, yieldsToOthers: Bool
    ) throws(ExitError) -> DHCPServerRunner {
        let directory = try StateDirectories.state(configuration.stateDirectory)
        let path = "\(directory)/\(dhcp.network.description.replacing(text: "/", with: "-")).leases"
        let (file, leases) = try LeaseFile.open(path, leaseTime: dhcp.leaseTime, logger: logger)
        let service = DHCPServerRunner(
            dhcp, leases: leases, file: file, yieldsToOthers: yieldsToOthers, loop: loop, control: control,
            logger: logger
        )
        dhcpServer = service
        // One server gives addresses of both versions.
        if service.activity != .serving { router?.pause() }
        service.onActivity = { [unowned self] activity in
            switch activity {
            case .detecting: router?.pause()
            case .serving: router?.serve()
            case .yielding: router?.resign()
            }
        }
        names?.names.directory = service
        service.portName = { [unowned self] in name(of: $0) }
        let published = publishedGuests
        service.onLeases = { [unowned self] leases in
            names?.note(leases.map { ($0.address, $0.hardware, $0.expires) })
            uplink?.note(leases)
            published.note(leases, now: BootClock.now)
            networkControl?.report(leases)
        }
        service.onConflict = { [unowned self] text in
            networkControl?.report(conflict: text)
        }
        return service
    }

    /// Reserves an address for a guest that has no DHCP client.
    /// - Throws: `unavailable` if this process gives no addresses, or all are taken.
    func assignAddress(to hardware: MACAddress) throws(ExitError) -> GuestAddress {
        guard let service = dhcpServer, service.activity != .yielding else {
            throw ExitError(
                .unavailable, "another DHCP server gives the addresses; leave out configure and use a DHCP client")
        }
        let dhcp = service.configuration
        guard let address = service.reserveFreeAddress(for: hardware) else {
            throw ExitError(.unavailable, "all addresses of \(dhcp.network) are taken; choose a larger --vmnet-mask")
        }
        return GuestAddress(address, prefixLength: dhcp.network.prefixLength, gateway: dhcp.router)
    }

    /// Makes the service that answers guests' DNS queries: with guests' names, else with the host's resolvers.
    func makeNames(_ addressing: HostAddressing) throws(ExitError) -> DNSGateway {
        try refuseLoops(addressing)
        let zone = configuration.domain.map { GuestZone($0, addressing.network) }
        let service = try DNSGateway(
            addressing.network, configuration.mode == .shared ? addressing.network6 : nil,
            hardware: addressing.hardware, mtu: configuration.mtu,
            resolvers: Resolvers(
                servers: configuration.nameServers,
                hostDomains: HostDomains(own: configuration.hostDNS.address(for: addressing.network), loop: loop)),
            names: LocalNames(zone: zone),
            cachesNames: configuration.cachesNames, egress: configuration.egress, descriptors: descriptors.names,
            outbound: configuration.outbound, loop: loop, control: control, logger: logger)
        service.policy.recordsAnswers = configuration.proxy != nil
        service.policy.onPins = { [unowned self] pins, name, expires in
            do throws(ChangeRefusal) {
                try uplink?.pin(pins, of: name, until: expires)
                return uplink != nil
            } catch {
                logger.debug("\(error)")
                return false
            }
        }
        names = service
        return service
    }

    /// A query to the own gateway would come back, or be lost: no socket is there.
    private func refuseLoops(_ addressing: HostAddressing) throws(ExitError) {
        let own =
            [SocketAddress(addressing.network.gateway, port: DNSMessage.port)]
            + addressing.gatewayIPv6.map { SocketAddress($0, port: DNSMessage.port) }
        for one in configuration.nameServers where own.contains(one.server) {
            throw ExitError(
                .usage, "--dns \(one): this is the gateway of the guests' network itself; give another server")
        }
        guard let domain = configuration.domain else { return }
        var zone = GuestZone(domain, addressing.network)
        zone.gatewayIPv6 = addressing.gatewayIPv6
        for one in configuration.nameServers where one.domain.map(zone.hasAll) == true {
            throw ExitError(
                .usage,
                """
                --dns: \(one) has no effect, because vde_vmnet itself answers reverse queries for addresses of the \
                guests' network; leave it out, or use --domain off
                """)
        }
    }
}

extension Daemon {
    /// Answers the host's queries for guests' names: at the address that the user has chosen, or by systemd-resolved.
    private func openHostNames() throws(ExitError) {
        guard let domain = configuration.domain, let names, let uplink, let addressing = uplink.hostAddressing
        else { return }
        // A network that could not be opened, and is replaced by a user-mode NAT, may have one.
        hostNames?.close()
        hostNames = nil
        let hasHostResolver = configuration.hostDNS != .off && uplink.hasHostResolver
        guard let address = configuration.hostDNS.address(for: addressing.network) else { return }
        // On macOS, the loopback interface has the address 127.0.0.1 only.
        if configuration.hostDNS == .automatic, !hasHostResolver || OperatingSystem.isMacOS { return }
        do throws(ExitError) {
            hostNames = try HostNameListener(at: address, names: names.names, loop: loop, logger: logger)
        } catch {
            guard configuration.hostDNS == .automatic else { throw error }
            return logger.warning("the host does not resolve names of guests: \(error)")
        }
        if hasHostResolver { return uplink.resolve(HostDNS.domains(of: addressing, domain), at: address) }
        logger.notice(
            """
            names below \(domain) are answered at \(address); send the host's queries for them there, for example \
            with DNS=\(address) and Domains=~\(domain) in the section [Resolve] of /etc/systemd/resolved.conf
            """
        )
    }
}

extension DHCPServerRunner: GuestDirectory {}
