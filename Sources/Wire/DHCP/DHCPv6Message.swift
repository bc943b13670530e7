// SPDX-License-Identifier: Apache-2.0

/// A DHCPv6 message between a client and a server (RFC 8415 section 8).
package struct DHCPv6Message: Equatable, Sendable {
    /// Message types (section 7.3).
    package enum Kind: UInt8, Sendable {
        case solicit = 1
        case advertise, request, confirm, renew, rebind, reply, release, decline
        case reconfigure, informationRequest
    }

    /// Option codes (section 21, RFC 3646).
    package enum Code {
        package static let clientIdentifier: UInt16 = 1
        package static let serverIdentifier: UInt16 = 2
        /// An identity association for addresses.
        package static let association: UInt16 = 3
        /// An identity association for temporary addresses.
        package static let temporaryAssociation: UInt16 = 4
        package static let address: UInt16 = 5
        package static let status: UInt16 = 13
        package static let rapidCommit: UInt16 = 14
        package static let nameServers: UInt16 = 23
        package static let searchDomains: UInt16 = 24
        /// An identity association for prefixes that a router requests.
        package static let prefixAssociation: UInt16 = 25
        package static let refreshTime: UInt16 = 32
    }

    /// Status codes (section 21.13).
    package enum Status: UInt16, Sendable {
        case success = 0
        case noAddresses = 2
        case noBinding = 3
        case notOnLink = 4
        case noPrefixes = 6
    }

    /// An option: its code, and its contents.
    package struct Option: Equatable, Sendable {
        /// `Code`, or any other.
        package var code: UInt16
        /// 65,535 bytes at most.
        package var contents: [UInt8]

        package init(_ code: UInt16, _ contents: [UInt8] = []) {
            self.code = code
            self.contents = contents
        }
    }

    /// Bytes before the options.
    private static let headerLength = 4
    /// Bytes of an option before its contents.
    private static let optionHeader = 4

    /// What kind of message it is.
    package var kind: Kind
    /// 24 bits, which the answer repeats.
    package var transaction: UInt32
    /// In the order of the message.
    package var options: [Option] = []

    /// A message without options.
    package init(_ kind: Kind, transaction: UInt32) {
        self.kind = kind
        self.transaction = transaction & 0xff_ffff
    }

    /// Parses a UDP payload.
    /// - Throws: `truncated`, `badField` for a type that is not between client and server.
    package init(parsing bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= DHCPv6Message.headerLength else { throw .truncated }
        guard let kind = Kind(rawValue: bytes.byte(at: 0)) else { throw .badField }
        self.init(kind, transaction: bytes.big32(at: 0))
        options = try DHCPv6Message.options(in: bytes.from(DHCPv6Message.headerLength))
    }

    /// Parses the options of a message, or those inside an option.
    package static func options(in bytes: RawSpan) throws(WireError) -> [Option] {
        var options: [Option] = [], offset = 0
        while offset < bytes.byteCount {
            guard bytes.byteCount - offset >= optionHeader else { throw .truncated }
            let length = Int(bytes.big16(at: offset + 2)), start = offset + optionHeader
            guard length <= bytes.byteCount - start else { throw .truncated }
            options.append(
                Option(bytes.big16(at: offset), bytes.extracting(start..<start + length).copied()))
            offset = start + length
        }
        return options
    }

    /// The contents of the first option with a code.
    package func contents(_ code: UInt16) -> [UInt8]? { options.first { $0.code == code }?.contents }

    /// The message as a UDP payload.
    package var bytes: [UInt8] {
        var writer = ByteWriter(capacity: 128)
        writer.put32(UInt32(kind.rawValue) << 24 | transaction)
        for option in options { option.emit(into: &writer) }
        return writer.bytes
    }
}

extension DHCPv6Message.Option {
    /// A status (section 21.13).
    package init(_ status: DHCPv6Message.Status) {
        self.init(DHCPv6Message.Code.status, [0, UInt8(truncatingIfNeeded: status.rawValue)])
    }

    /// What a server without temporary addresses and prefixes answers to an association for them (RFC 8415 sections
    /// 18.3.9 and 18.3.10); nil if `option` is none.
    package init?(refusing option: DHCPv6Message.Option) {
        // The number of the association, and for prefixes two times (sections 21.5 and 21.21).
        let length: Int, status: DHCPv6Message.Status
        switch option.code {
        case DHCPv6Message.Code.temporaryAssociation: (length, status) = (4, .noAddresses)
        case DHCPv6Message.Code.prefixAssociation: (length, status) = (12, .noPrefixes)
        default: return nil
        }
        guard option.contents.count >= length else { return nil }
        var writer = ByteWriter(capacity: 24)
        writer.put(Array(option.contents[..<4]) + [UInt8](repeating: 0, count: length - 4))
        DHCPv6Message.Option(status).emit(into: &writer)
        self.init(option.code, writer.bytes)
    }

    /// Appends the option.
    /// - Precondition: the contents have 65,535 bytes at most.
    package func emit(into writer: inout ByteWriter) {
        writer.put16(code)
        writer.put16(UInt16(contents.count))
        writer.put(contents)
    }
}

/// An identity association for addresses: what a client calls one of its interfaces (RFC 8415 section 21.4).
package struct DHCPv6Association: Equatable, Sendable {
    /// An address with its lifetimes in seconds (section 21.6).
    package struct Address: Equatable, Sendable {
        /// The address.
        package var address: IPv6Address
        /// Seconds for which it is used for new connections.
        package var preferredLifetime: UInt32
        /// Seconds for which it is used.
        package var validLifetime: UInt32

        package init(_ address: IPv6Address, preferredLifetime: UInt32, validLifetime: UInt32) {
            self.address = address
            self.preferredLifetime = preferredLifetime
            self.validLifetime = validLifetime
        }
    }

    private static let headerLength = 12, addressLength = 24

    /// The client's number for it.
    package var identifier: UInt32
    /// Seconds after which the client renews and rebinds.
    package var renewal: UInt32 = 0, rebinding: UInt32 = 0
    /// Those that the client has, or is to have.
    package var addresses: [Address] = []
    /// nil if it is not in the message.
    package var status: DHCPv6Message.Status?

    package init(_ identifier: UInt32) { self.identifier = identifier }

    /// Parses the contents of the option.
    /// - Throws: `truncated`.
    package init(parsing bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= DHCPv6Association.headerLength else { throw .truncated }
        self.init(bytes.big32(at: 0))
        renewal = bytes.big32(at: 4)
        rebinding = bytes.big32(at: 8)
        for option in try DHCPv6Message.options(in: bytes.from(DHCPv6Association.headerLength)) {
            let contents = option.contents.rawSpan
            switch option.code {
            case DHCPv6Message.Code.address:
                guard contents.byteCount >= DHCPv6Association.addressLength else { throw .truncated }
                addresses.append(
                    Address(
                        IPv6Address(contents, at: 0), preferredLifetime: contents.big32(at: 16),
                        validLifetime: contents.big32(at: 20)))
            case DHCPv6Message.Code.status where contents.byteCount >= 2:
                status = DHCPv6Message.Status(rawValue: contents.big16(at: 0))
            default: break
            }
        }
    }

    /// The association as an option.
    package var option: DHCPv6Message.Option {
        var writer = ByteWriter(capacity: 64)
        writer.put32(identifier)
        writer.put32(renewal)
        writer.put32(rebinding)
        for one in addresses {
            writer.put16(DHCPv6Message.Code.address)
            writer.put16(UInt16(DHCPv6Association.addressLength))
            writer.put(one.address)
            writer.put32(one.preferredLifetime)
            writer.put32(one.validLifetime)
        }
        if let status { DHCPv6Message.Option(status).emit(into: &writer) }
        return DHCPv6Message.Option(DHCPv6Message.Code.association, writer.bytes)
    }
}
