// SPDX-License-Identifier: Apache-2.0

/// DHCP's ports (RFC 2131 section 4.1).
@usableFromInline
package enum DHCPPort {
    @inlinable package static var server: UInt16 { 67 }
    @inlinable package static var client: UInt16 { 68 }
    /// Of clients by IPv6 (RFC 8415 section 7.2).
    @inlinable package static var clientIPv6: UInt16 { 546 }
}

/// Clients by what they call themselves (RFC 2132 section 9.13).
package enum DHCPVendorClass {
    /// `vde_vmnet check`, which gives its address back at once. It gets one from the end of the pool, so that the first
    /// ones are the guests'.
    package static let check = Array("vde_vmnet check".utf8)
}

/// DHCP option codes (RFC 2132 unless noted).
package enum DHCPOption: UInt8, Sendable {
    case subnetMask = 1
    case router = 3
    case domainNameServer = 6
    case hostName = 12
    case domainName = 15
    case interfaceMTU = 26
    case broadcastAddress = 28
    case requestedAddress = 50
    case leaseTime = 51
    case overload = 52
    case messageType = 53
    case serverIdentifier = 54
    case parameterRequestList = 55
    case message = 56
    case maximumMessageSize = 57
    case renewalTime = 58
    case rebindingTime = 59
    case vendorClass = 60
    case clientIdentifier = 61
    /// RFC 3397.
    case domainSearch = 119
}

/// A DHCP message over Ethernet (RFC 2131 section 2): the payload of a UDP datagram between ports 67 and 68.
package struct DHCPv4Message: Equatable, Sendable {
    package enum Kind: UInt8, Sendable {
        case discover = 1, offer, request, decline, ack, nak, release, inform
    }

    /// Octets before the options: the BOOTP header and the magic cookie.
    package static let fixedLength = 240
    /// What every client must accept (RFC 2131 section 2): an IP datagram of 576 bytes.
    package static let minimumMaximumSize = 576
    private static let cookie: UInt32 = 0x6382_5363

    /// True for BOOTREPLY, which servers send.
    package var isReply: Bool
    package var transactionID: UInt32
    package var secondsElapsed: UInt16 = 0
    /// The client cannot receive unicast before it is configured.
    package var wantsBroadcast = false
    package var clientAddress: IPv4Address = .any
    package var yourAddress: IPv4Address = .any
    package var nextServer: IPv4Address = .any
    package var relay: IPv4Address = .any
    package var clientHardware: MACAddress
    /// Options in the order in which they were first seen, or are to be written. An option that came in pieces is
    /// joined (RFC 3396).
    package private(set) var options: [(code: UInt8, value: [UInt8])] = []

    package init(isReply: Bool, transactionID: UInt32, clientHardware: MACAddress) {
        self.isReply = isReply
        self.transactionID = transactionID
        self.clientHardware = clientHardware
    }

    package static func == (a: DHCPv4Message, b: DHCPv4Message) -> Bool {
        a.isReply == b.isReply && a.transactionID == b.transactionID && a.secondsElapsed == b.secondsElapsed
            && a.wantsBroadcast == b.wantsBroadcast
            && a.clientAddress == b.clientAddress && a.yourAddress == b.yourAddress && a.nextServer == b.nextServer
            && a.relay == b.relay
            && a.clientHardware == b.clientHardware
            && a.options.elementsEqual(b.options) { $0.code == $1.code && $0.value == $1.value }
    }

    // MARK: Parsing

    /// - Throws: `truncated` below 240 bytes or if an option reaches beyond its field; `badField` for another hardware
    ///   type than Ethernet, an unknown operation, or a missing cookie.
    package init(parsing bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= DHCPv4Message.fixedLength else { throw .truncated }
        guard bytes.byte(at: 0) == 1 || bytes.byte(at: 0) == 2, bytes.byte(at: 1) == 1, bytes.byte(at: 2) == 6,
            bytes.big32(at: 236) == DHCPv4Message.cookie
        else { throw .badField }
        isReply = bytes.byte(at: 0) == 2
        transactionID = bytes.big32(at: 4)
        secondsElapsed = bytes.big16(at: 8)
        wantsBroadcast = bytes.big16(at: 10) & 0x8000 != 0
        clientAddress = IPv4Address(bytes.big32(at: 12))
        yourAddress = IPv4Address(bytes.big32(at: 16))
        nextServer = IPv4Address(bytes.big32(at: 20))
        relay = IPv4Address(bytes.big32(at: 24))
        clientHardware = MACAddress(bytes.big64(at: 28) >> 16)
        try parseOptions(bytes.from(DHCPv4Message.fixedLength))
        // The file and sname fields may carry further options (RFC 2132 section 9.3), file first.
        let overload = self[.overload]?.first ?? 0
        if overload & 1 != 0 { try parseOptions(bytes.extracting(108..<236)) }
        if overload & 2 != 0 { try parseOptions(bytes.extracting(44..<108)) }
    }

    private mutating func parseOptions(_ bytes: RawSpan) throws(WireError) {
        var offset = 0
        while offset < bytes.byteCount {
            let code = bytes.byte(at: offset)
            if code == 255 { return }
            offset += 1
            if code == 0 { continue }
            guard offset < bytes.byteCount else { throw .truncated }
            let length = Int(bytes.byte(at: offset))
            offset += 1
            guard length <= bytes.byteCount - offset else { throw .truncated }
            append(code, bytes.extracting(offset..<offset + length).copied())
            offset += length
        }
        // Some BOOTP-era clients leave out the end option.
    }

    private mutating func append(_ code: UInt8, _ value: [UInt8]) {
        if let index = options.firstIndex(where: { $0.code == code }) {
            options[index].value += value
        } else {
            options.append((code, value))
        }
    }

    // MARK: Options

    /// An option's value; nil if absent. Setting replaces it, or removes it with nil.
    package subscript(option: DHCPOption) -> [UInt8]? {
        get { options.first { $0.code == option.rawValue }?.value }
        set {
            options.removeAll { $0.code == option.rawValue }
            if let newValue { options.append((option.rawValue, newValue)) }
        }
    }

    package var kind: Kind? {
        guard let value = self[.messageType], value.count == 1 else { return nil }
        return Kind(rawValue: value[0])
    }

    /// The first address of an option that holds one or more; nil if it is absent or of a wrong length.
    package func address(_ option: DHCPOption) -> IPv4Address? { addresses(option).first }

    package func addresses(_ option: DHCPOption) -> [IPv4Address] {
        guard let value = self[option], value.count % 4 == 0 else { return [] }
        return stride(from: 0, to: value.count, by: 4).map { IPv4Address(value.rawSpan.big32(at: $0)) }
    }

    package func seconds(_ option: DHCPOption) -> UInt32? {
        guard let value = self[option], value.count == 4 else { return nil }
        return value.rawSpan.big32(at: 0)
    }

    package func short(_ option: DHCPOption) -> UInt16? {
        guard let value = self[option], value.count == 2 else { return nil }
        return value.rawSpan.big16(at: 0)
    }

    package mutating func set(_ option: DHCPOption, _ addresses: [IPv4Address]) {
        self[option] = addresses.isEmpty ? nil : addresses.flatMap(\.bytes)
    }

    /// Domain names one behind the other (RFC 3397 section 2), without compression; those that do not fit into the
    /// option's 255 bytes are left out.
    package mutating func set(_ option: DHCPOption, names: [DNSName]) {
        var bytes: [UInt8] = []
        for name in names {
            var writer = ByteWriter(capacity: 64)
            name.emit(into: &writer)
            if bytes.count + writer.bytes.count > 255 { break }
            bytes += writer.bytes
        }
        self[option] = bytes.isEmpty ? nil : bytes
    }

    package mutating func set(_ option: DHCPOption, seconds: UInt32) { self[option] = IPv4Address(seconds).bytes }

    package mutating func set(_ option: DHCPOption, short: UInt16) {
        self[option] = [UInt8(short >> 8), UInt8(truncatingIfNeeded: short)]
    }

    // MARK: Emitting

    /// The message as bytes, padded to BOOTP's 300.
    /// - Parameter limit: how many bytes may be written; options that do not fit are left out, the last ones first to
    ///   go.
    package func bytes(limit: Int = .max) -> [UInt8] {
        var writer = ByteWriter(capacity: 400)
        writer.put8(isReply ? 2 : 1)
        writer.put8(1)
        writer.put8(6)
        writer.put8(0)
        writer.put32(transactionID)
        writer.put16(secondsElapsed)
        writer.put16(wantsBroadcast ? 0x8000 : 0)
        for address in [clientAddress, yourAddress, nextServer, relay] { writer.put(address) }
        writer.put(clientHardware)
        writer.putZeros(10 + 64 + 128)
        writer.put32(DHCPv4Message.cookie)
        for (code, value) in options {
            // An option longer than 255 bytes is split (RFC 3396).
            let pieces = max(1, (value.count + 254) / 255)
            guard writer.count + value.count + 2 * pieces + 1 <= limit else { continue }
            for piece in 0..<pieces {
                let part = value[piece * 255..<min(value.count, piece * 255 + 255)]
                writer.put8(code)
                writer.put8(UInt8(part.count))
                writer.put(part)
            }
        }
        writer.put8(255)
        writer.putZeros(max(0, 300 - writer.count))
        return writer.bytes
    }
}
