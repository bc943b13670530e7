// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// The reply to one message: its options and its destination (RFC 2131 sections 4.1 and 4.3).
struct DHCPReply {
    /// Clients assume this MTU unless a reply has another.
    private static let usualMTU: UInt16 = 1500

    private var message: DHCPv4Message
    private let request: DHCPv4Message
    private let configuration: DHCPConfiguration
    private let kind: DHCPv4Message.Kind

    init(_ kind: DHCPv4Message.Kind, to request: DHCPv4Message, _ configuration: DHCPConfiguration) {
        self.kind = kind
        self.request = request
        self.configuration = configuration
        message = DHCPv4Message(
            isReply: true, transactionID: request.transactionID, clientHardware: request.clientHardware)
        message.wantsBroadcast = request.wantsBroadcast
        message[.messageType] = [kind.rawValue]
        message.set(.serverIdentifier, [configuration.server])
        // RFC 6842: the server returns the identifier, so that several clients behind one hardware address recognise
        // their replies.
        message[.clientIdentifier] = request[.clientIdentifier]
        if kind != .nak {
            message.clientAddress = request.kind == .request || request.kind == .inform ? request.clientAddress : .any
        }
    }

    /// Adds the options that describe the network. If the message is too short for all, the last ones are left out.
    private func describeNetwork(in message: inout DHCPv4Message) {
        let requested = request[.parameterRequestList]
        func isRequested(_ option: DHCPOption) -> Bool { requested?.contains(option.rawValue) ?? true }
        // Every client gets the options that it needs to communicate; the others are for clients that request them or
        // send no list.
        message.set(.subnetMask, [configuration.network.mask])
        if let router = configuration.router { message.set(.router, [router]) }
        message.set(.domainNameServer, configuration.nameServers)
        if isRequested(.interfaceMTU) || configuration.mtu != DHCPReply.usualMTU {
            message.set(.interfaceMTU, short: configuration.mtu)
        }
        if isRequested(.broadcastAddress) { message.set(.broadcastAddress, [configuration.network.broadcast]) }
        if isRequested(.hostName), let name = fixedName { message[.hostName] = Array(name.description.utf8) }
        if isRequested(.domainName), let domain = configuration.domain { message[.domainName] = Array(domain.utf8) }
        if isRequested(.domainSearch) {
            message.set(.domainSearch, names: configuration.searchDomains.compactMap { DNSName($0) })
        }
    }

    /// The name that a reservation fixes for the client.
    private var fixedName: GuestName? {
        configuration.reservations.first { $0.name != nil && $0.hardware == request.clientHardware }?.name
    }

    /// Assigns `address` for `seconds`, with T1 at half and T2 at seven eighths of them (RFC 2131 section 4.4.5).
    mutating func grant(_ address: IPv4Address, seconds: UInt32) {
        message.yourAddress = address
        message.set(.leaseTime, seconds: seconds)
        message.set(.renewalTime, seconds: seconds / 2)
        message.set(.rebindingTime, seconds: seconds / 8 * 7)
    }

    /// The reply as an Ethernet frame.
    func frame() -> [UInt8] {
        var hardware = request.clientHardware
        var address: IPv4Address
        if kind == .nak {
            (hardware, address) = (.broadcast, .broadcast)
        } else if request.clientAddress != .any {
            address = request.clientAddress
        } else if request.wantsBroadcast {
            (hardware, address) = (.broadcast, .broadcast)
        } else {
            address = message.yourAddress
        }
        let frame = UDPFrame(
            from: (configuration.serverHardware, configuration.server, DHCPPort.server),
            to: (hardware, address, DHCPPort.client))
        let limit = Int(max(request.short(.maximumMessageSize) ?? 0, UInt16(DHCPv4Message.minimumMaximumSize)))
        var message = message
        if kind != .nak { describeNetwork(in: &message) }
        return frame.bytes(
            payload: message.bytes(limit: min(limit, Int(configuration.mtu)) - IPv4Header.length - UDPHeader.length)
        )
    }
}
