// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import ControlSocket
import DHCPService
import NetworkConfiguration
import NetworkModel
import Platform
import RouterService
import Uplink
import Wire

// Changes of leases and of reserved addresses.

extension NetworkControl {
    private static let mostReservations = 4096

    private func service() throws(ControlError) -> DHCPServerRunner {
        guard let service = network.dhcpServer else {
            throw ControlError(.unsupported, "this network leases no addresses: its DHCP server is off or another")
        }
        return service
    }

    func addLeaseMethods() {
        add("lease.release", .change) { (it, client, params) throws(ControlError) in
            let address = try NetworkControl.address(params) {
                """
                \($0) is an IPv6 address, which is not leased: guests make their own, or have one by --dhcp-host \
                MAC,IP,IP6; release the guest's IPv4 address
                """
            }
            guard try it.service().release(address) else {
                throw ControlError(.notFound, "\(address) is not leased; vde_vmnet lease list shows what is")
            }
            it.note(client, "releases the lease of \(address)")
            return .object([])
        }
        add("lease.reserve", .change) { (it, client, params) throws(ControlError) in
            let service = try it.service(), hardware = try NetworkControl.hardware(params)
            let address = try NetworkControl.address(params) {
                """
                \($0) is an IPv6 address; reserve it when the network starts: --dhcp-host \(hardware),IP,\($0)
                """
            }
            try it.checkReservation(of: address, for: hardware, service)
            service.reserve(address, for: hardware)
            it.noteReservations(service)
            it.note(client, "reserves \(address) for \(hardware)")
            return .object([])
        }
        add("lease.unreserve", .change) { (it, client, params) throws(ControlError) in
            let hardware = try NetworkControl.hardware(params), service = try it.service()
            guard service.removeReservation(of: hardware) else {
                throw ControlError(
                    .notFound, "no address is reserved for \(hardware); vde_vmnet lease list shows what is")
            }
            it.noteReservations(service)
            it.note(client, "removes the reservation of \(hardware)")
            return .object([])
        }
    }

    private func checkReservation(
        of address: IPv4Address, for hardware: MACAddress, _ service: DHCPServerRunner
    ) throws(ControlError) {
        if let reason = network.uplink?.hostAddressing?.network.refusal(ofGuest: address) {
            throw ControlError(.parameters, reason)
        }
        let reservations = service.configuration.reservations
        if let other = reservations.first(where: { $0.address == address && $0.hardware != hardware }) {
            throw ControlError(.conflict, "\(address) is reserved for \(other.hardware)")
        }
        let now = BootClock.now
        if let lease = service.leases.first(where: {
            $0.address == address && $0.expires > now && $0.hardware != hardware
        }) {
            throw ControlError(
                .conflict,
                "\(address) is leased to \(lease.hardware); release that lease first, or wait for its end")
        }
        guard
            reservations.count < NetworkControl.mostReservations
                || reservations.contains(where: { $0.hardware == hardware })
        else {
            throw ControlError(.busy, "\(NetworkControl.mostReservations) addresses are reserved; remove one")
        }
    }

    /// Has DHCPv6 and advertisements follow the reservations of the DHCP server.
    private func noteReservations(_ service: DHCPServerRunner) {
        network.configuration.reservations = service.configuration.reservations
        network.router?.refreshContents()
    }

    /// - Parameter refusal: of an IPv6 address.
    private static func address(
        _ params: JSON, refusal: (IPv6Address) -> String
    ) throws(ControlError) -> IPv4Address {
        let text = try params.requiredString("address")
        if let address = IPv4Address(text) { return address }
        if let address = IPv6Address(text) { throw ControlError(.parameters, "address: \(refusal(address))") }
        throw ControlError(.parameters, "address: '\(PrintableText.line(text, limit: 64))' is not an IPv4 address")
    }

    private static func hardware(_ params: JSON) throws(ControlError) -> MACAddress {
        let text = try params.requiredString("mac")
        guard let address = MACAddress(text), !address.isGroup, address != .zero else {
            throw ControlError(
                .parameters, "mac: '\(PrintableText.line(text, limit: 64))' is not a guest's hardware address")
        }
        return address
    }
}
