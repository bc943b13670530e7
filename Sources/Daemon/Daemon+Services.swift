// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import DHCPService
import Lifecycle
import NameService
import NetworkModel
import Platform
import Sessions
import Switching
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
        let facts: HostFacts? = isShared ? HostFacts(addressing, configuration) : nil
        facts?.apply(to: &dhcp)
        // In host mode guests get no router and no name server, because the outside is closed to them.
        if isShared {
            if !addressing.answersDNS, names == nil, configuration.egress.allowsNames {
                _ = try makeNames(addressing)
            }
            dhcp.router = network.gateway
            dhcp.nameServers = addressing.answersDNS || names != nil ? [network.gateway] : []
        }
        try names?.open(terminatesTCP: terminatesTCP)
        dhcp.reservations = configuration.reservations
        let mayHaveOtherServers = session?.mayHaveOtherServers ?? false
        dhcp.knowsPorts = session?.ownsSwitch ?? false
        // This server does not know the leases of another server, which may be a guest.
        dhcp.isAuthoritative = !mayHaveOtherServers && configuration.allowedServers.isEmpty
        guard configuration.dhcp == .auto || configuration.dhcp == .builtin else { return }
        let service = try makeAddressService(
            dhcp, yieldsToOthers: configuration.dhcp == .auto && mayHaveOtherServers)
        if let facts { service.refreshConfiguration = { facts.apply(to: &$0) } }
    }

    private func makeAddressService(
        _ dhcp: DHCPConfiguration, yieldsToOthers: Bool
    ) throws(ExitError) -> DHCPServerRunner {
        let directory = try StateDirectories.state(configuration.stateDirectory)
        let path = "\(directory)/\(dhcp.network.description.replacing(text: "/", with: "-")).leases"
        let (file, leases) = try LeaseFile.open(path, logger: logger)
        let service = DHCPServerRunner(
            dhcp, leases: leases, file: file, yieldsToOthers: yieldsToOthers, loop: loop, control: control,
            logger: logger
        )
        addressService = service
        service.portName = { [unowned self] in name(of: $0) }
        let published = publishedGuests
        service.onLeases = { [unowned self] leases in
            names?.note(leases.map { ($0.address, $0.hardware, $0.expires) })
            uplink?.note(leases)
            published.note(leases, now: BootClock.now)
            networkControl?.report(leases)
        }
        service.onConflict = { [unowned self] text in
            networkControl?.publish(.conflict, [("message", .string(text))])
        }
        return service
    }

    /// Makes the service that answers guests' DNS queries with the host's resolvers.
    func makeNames(_ addressing: HostAddressing) throws(ExitError) -> DNSGateway {
        let service = try DNSGateway(
            addressing.network, hardware: addressing.hardware, mtu: configuration.mtu, resolvers: Resolvers(),
            descriptors: descriptors.names, loop: loop, control: control, logger: logger)
        names = service
        return service
    }
}
