// SPDX-License-Identifier: Apache-2.0
import Wire

/// A server's answer to one message: which options it carries and where it is sent (RFC 2131 sections 4.1 and 4.3).
struct DHCPReply {
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
        // RFC 6842: the identifier goes back, so that several clients behind one address can tell their answers apart.
        message[.clientIdentifier] = request[.clientIdentifier]
        if kind != .nak {
            message.clientAddress = request.kind == .request || request.kind == .inform ? request.clientAddress : .any
        }
    }

    /// Adds what clients want to know of the network; where the message has no room for all, the last go.
    private func describeNetwork(in message: inout DHCPv4Message) {
        let wanted = request[.parameterRequestList]
        func isWanted(_ option: DHCPOption) -> Bool { wanted?.contains(option.rawValue) ?? true }
        // What no client can do without is sent to all; the rest to those that ask, or give no list.
        message.set(.subnetMask, [configuration.network.mask])
        if let router = configuration.router { message.set(.router, [router]) }
        message.set(.domainNameServer, configuration.nameServers)
        if isWanted(.interfaceMTU) || configuration.mtu != 1500 { message.set(.interfaceMTU, short: configuration.mtu) }
        if isWanted(.broadcastAddress) { message.set(.broadcastAddress, [configuration.network.broadcast]) }
        if isWanted(.domainName), let domain = configuration.domain { message[.domainName] = Array(domain.utf8) }
        if isWanted(.domainSearch) {
            message.set(.domainSearch, names: configuration.searchDomains.compactMap { DNSName($0) })
        }
    }

    /// Gives `address` for `seconds`; renewal and rebinding at half and seven eighths of them.
    mutating func grant(_ address: IPv4Address, seconds: UInt32) {
        message.yourAddress = address
        message.set(.leaseTime, seconds: seconds)
        message.set(.renewalTime, seconds: seconds / 2)
        message.set(.rebindingTime, seconds: seconds / 8 * 7)
    }

    /// The whole Ethernet frame.
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
            payload: message.bytes(limit: min(limit, Int(configuration.mtu)) - IPv4Header.length - UDPView.headerLength)
        )
    }
}
