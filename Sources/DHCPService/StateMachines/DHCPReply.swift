// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// The reply to one message: its options and its destination (RFC 2131 sections 4.1 and 4.3).
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
        message.hasBroadcastFlag = request.hasBroadcastFlag
        message[.messageType] = [kind.rawValue]
        message.set(.serverIdentifier, [configuration.server])
        // RFC 6842: the server returns the identifier, so that several clients behind one hardware address recognise
        // their replies.
        message[.clientIdentifier] = request[.clientIdentifier]
        if kind != .nak {
            message.clientAddress = request.kind == .request || request.kind == .inform ? request.clientAddress : .any
        }
    }

    /// Assigns `address` for `seconds`, with T1 at half and T2 at seven eighths of them (RFC 2131 section 4.4.5).
    mutating func grant(_ address: IPv4Address, seconds: UInt32) {
        message.yourAddress = address
        message.set(.leaseTime, seconds: seconds)
        message.set(.renewalTime, seconds: seconds / 2)
        message.set(.rebindingTime, seconds: seconds / 8 * 7)
    }

    /// Reports to a client that has sent its name as an FQDN which name it has.
    /// - Parameter name: the name that it holds; nil if none.
    mutating func report(_ name: GuestName?) {
        message[.clientFQDN] = request[.clientFQDN].flatMap { ClientFQDN($0) }?.reply(name, configuration.guestDomain)
    }

    /// What does not fit into a reply.
    struct Omissions {
        /// Names of the search list.
        var domains: [DNSName] = []
        /// Codes of options.
        var options: [UInt8] = []
        /// Bytes of the longest IP packet that the client accepts, and its link has.
        var limit = 0
        let client: MACAddress
    }

    /// The reply as an Ethernet frame, and what does not fit into it.
    func frame() -> (bytes: [UInt8], omissions: Omissions) {
        var hardware = request.clientHardware
        var address: IPv4Address
        if kind == .nak {
            (hardware, address) = (.broadcast, .broadcast)
        } else if request.clientAddress != .any {
            address = request.clientAddress
        } else if request.hasBroadcastFlag {
            (hardware, address) = (.broadcast, .broadcast)
        } else {
            address = message.yourAddress
        }
        let frame = UDPFrame(
            from: (configuration.serverHardware, configuration.server, DHCPPort.server),
            to: (hardware, address, DHCPPort.client))
        let accepted = Int(max(request.short(.maximumMessageSize) ?? 0, UInt16(DHCPv4Message.minimumMaximumSize)))
        var message = message, omissions = Omissions(client: request.clientHardware)
        omissions.limit = min(accepted, Int(configuration.mtu))
        let limit = omissions.limit - IPv4Header.length - UDPHeader.length
        let description = kind == .nak ? nil : NetworkDescription(configuration, for: request)
        description?.describe(in: &message)
        if kind == .offer, DHCPServerClaim(in: request) != nil { configuration.claim?.write(to: &message) }
        omissions.domains = description?.fitSearchList(in: &message, limit: limit) ?? []
        omissions.options = message.codesLeftOut(limit: limit)
        return (frame.bytes(payload: message.bytes(limit: limit)), omissions)
    }
}
