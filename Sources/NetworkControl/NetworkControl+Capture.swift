// SPDX-License-Identifier: Apache-2.0
import Capture
import CaptureService
import ControlProtocol
import ControlSocket
import DHCPService
import Logging
import NetworkModel
import Platform
import Sessions
import Switching
import VDESwitch
import Wire

// The capture of frames for a client. After the reply the connection carries pcapng, and no more lines: the client ends
// the capture by closing its sending side, and the network by closing the connection.

extension NetworkControl {
    func addCaptureMethod() {
        add("capture", .details) { (it, client, params) throws(ControlError) in
            guard client.rights.contains(.capture) else {
                throw ControlError(
                    .denied,
                    """
                    root has started this network, so that its guests' frames are root's to read; use sudo, or start \
                    the network with --control-allow capture
                    """)
            }
            var request = NetworkCaptures.Request()
            let follow = try it.selection(params, &request)
            request.snapLength =
                try params.optionalInteger("snaplen", in: NetworkCaptures.snapLengths) ?? request.snapLength
            request.limit = try params.optionalInteger("count", in: 1...Int(Int32.max))
            request.filter = try NetworkControl.filter(params)
            guard !it.network.captures.isFull else {
                throw ControlError(
                    .busy, "\(SwitchControl.captureCapacity) captures of this network run already; end one of them")
            }
            let scope = NetworkControl.scope(params)
            client.takeover = { [unowned it] in it.start(request, follow, scope, for: $0) }
            return .object([("format", .string("pcapng")), ("snaplen", .integer(request.snapLength))])
        }
    }

    private func start(
        _ request: NetworkCaptures.Request, _ follow: (() -> CaptureSelection)?, _ scope: String,
        for client: ControlClient
    ) {
        let server = server
        do throws(SystemError) {
            try network.captures.start(request, to: client.duplicateSocket(), .socket, follow: follow) {
                [weak server, weak client] _ in
                if let server, let client { server.close(client) }
            }
        } catch {
            network.logger.warning("a capture cannot start: \(error); end other programs that have files open")
            return server.close(client)
        }
        note(client, "captures frames" + scope)
    }

    /// What a capture is limited to, for the log.
    private static func scope(_ params: JSON) -> String {
        var scope = ""
        if let guest = params["guest"]?.string {
            scope += " of \(PrintableText.line(guest, limit: 64))"
        } else if let port = params["port"]?.integer {
            scope += " at port \(port)"
        } else if params["port"]?.string != nil {
            scope += " at the uplink"
        }
        return scope + (params["filter"]?.string == nil ? "" : " that pass a filter")
    }

    private static func filter(_ params: JSON) throws(ControlError) -> FilterProgram? {
        guard let text = try params.optionalString("filter") else { return nil }
        guard let bytes = Base64.bytes(text) else {
            throw ControlError(.parameters, "filter is not base64 of the instructions of a packet filter")
        }
        do throws(FilterProgram.Refusal) {
            return try FilterProgram(parsing: bytes)
        } catch {
            throw ControlError(.parameters, "filter: \(error)")
        }
    }

    // MARK: Which ports

    /// Sets the selection of a request. Returns what follows a guest to another port; nil if the selection stays.
    private func selection(
        _ params: JSON, _ request: inout NetworkCaptures.Request
    ) throws(ControlError) -> (() -> CaptureSelection)? {
        if let guest = try params.optionalString("guest") {
            guard params["port"] == nil || params["port"] == .null else {
                throw ControlError(.parameters, "port and guest exclude each other; give one of them")
            }
            let hardware = try hardware(ofGuest: guest)
            request.selection = place(of: hardware)
            // A guest that has been silent for a while has no place, and is followed to the next one.
            let isLeased = network.dhcpServer?.leases.contains { $0.hardware == hardware } ?? false
            guard request.selection != .none || isLeased else {
                throw ControlError(
                    .notFound,
                    "no guest with the address \(hardware) has sent anything lately; vde_vmnet status lists them")
            }
            return { [weak self] in self?.place(of: hardware) ?? .none }
        }
        switch params["port"] {
        case nil, .null?: break
        case .string("uplink")?: request.selection = .uplinks
        default: request.selection = try numberedPort(params)
        }
        return nil
    }

    private func numberedPort(_ params: JSON) throws(ControlError) -> CaptureSelection {
        let number = try params.requiredInteger("port", in: 0...SwitchControl.portCapacity)
        guard let session = network.session, session.ownsSwitch else {
            throw ControlError(
                .unsupported, "another process runs the switch, so that ports have no numbers here; leave out port")
        }
        guard session.settings(of: number) != nil else {
            throw ControlError(.notFound, "there is no port \(number); vde_vmnet port list shows the ports")
        }
        return .group(VirtualSwitch.group(ofPort: number))
    }

    /// The hardware address of a guest, by that address or its name.
    private func hardware(ofGuest guest: String) throws(ControlError) -> MACAddress {
        if let address = MACAddress(guest) { return address }
        let name = guest.lowercased(), now = BootClock.now
        for lease in network.dhcpServer?.leases ?? [] where lease.expires > now {
            if lease.name?.description.lowercased() == name { return lease.hardware }
        }
        throw ControlError(
            .notFound,
            "no guest is called '\(PrintableText.line(guest, limit: 64))'; vde_vmnet status lists the guests")
    }

    /// The port at which a hardware address is now.
    private func place(of hardware: MACAddress) -> CaptureSelection {
        for (port, addresses) in knownAddresses() where addresses.contains(where: { $0.address == hardware }) {
            let group = network.control.identity(of: port)?.group ?? 0
            return group == 0 ? .port(port) : .group(group)
        }
        return .none
    }
}
