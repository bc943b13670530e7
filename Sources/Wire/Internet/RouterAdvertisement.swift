// SPDX-License-Identifier: Apache-2.0

/// A router advertisement (RFC 4861 section 4.2) with one prefix of 64 bits, and the options for DNS (RFC 8106) and
/// NAT64 (RFC 8781).
package struct RouterAdvertisement: Equatable, Sendable {
    /// Flags after the hop limit.
    private enum Flags {
        static let managed: UInt8 = 0x80
        static let other: UInt8 = 0x40
    }

    /// Flags of the prefix option: on the link, and for addresses (RFC 4861 section 4.6.2).
    private static let prefixFlags: UInt8 = 0xc0
    private static let prefixBits: UInt8 = 64
    /// Bytes of options before their variable parts: type, length, reserved, a lifetime.
    private static let timedHeader = 8

    /// Hops of packets that hosts send; 0 if it is not specified.
    package var hopLimit: UInt8 = 64
    /// Hosts get addresses by DHCPv6.
    package var isManaged = false
    /// Hosts get other information by DHCPv6.
    package var hasOtherInformation = false
    /// Seconds for which the sender is a default router; 0 for none.
    package var routerLifetime: UInt16 = 0
    /// The sender's hardware address.
    package var hardware: MACAddress
    /// Bytes of the longest packet on the link; nil if it is not specified.
    package var mtu: UInt32?
    /// The upper half of addresses that hosts make for themselves; nil for none.
    package var prefix: UInt64?
    /// Seconds for which these addresses are valid.
    package var validLifetime: UInt32 = 0
    /// Seconds for which hosts use them for new connections.
    package var preferredLifetime: UInt32 = 0
    /// Recursive DNS servers (RFC 8106 section 5.1).
    package var nameServers: [IPv6Address] = []
    /// Search domains (RFC 8106 section 5.2).
    package var searchDomains: [DNSName] = []
    /// Seconds for which servers and domains may be used.
    package var namesLifetime: UInt32 = 0
    /// The prefix of a NAT64 that the router leads to; nil for none.
    package var nat64: NAT64Prefix?
    /// Seconds for which `nat64` may be used, in steps of 8.
    package var nat64Lifetime: UInt16 = 0

    /// - Parameter hardware: the sender's.
    package init(hardware: MACAddress) { self.hardware = hardware }

    /// What follows type, code and checksum of the message.
    package var body: [UInt8] {
        var body = ByteWriter(capacity: 128)
        body.put8(hopLimit)
        body.put8((isManaged ? Flags.managed : 0) | (hasOtherInformation ? Flags.other : 0))
        body.put16(routerLifetime)
        body.put32(0)  // reachable time: unspecified
        body.put32(0)  // retransmission timer: unspecified
        body.put8(NDPOptions.Kind.sourceLinkLayerAddress)
        body.put8(1)
        body.put(hardware)
        if let mtu {
            body.put8(NDPOptions.Kind.mtu)
            body.put8(1)
            body.put16(0)
            body.put32(mtu)
        }
        if let prefix {
            body.put8(NDPOptions.Kind.prefixInformation)
            body.put8(4)
            body.put8(RouterAdvertisement.prefixBits)
            body.put8(RouterAdvertisement.prefixFlags)
            body.put32(validLifetime)
            body.put32(preferredLifetime)
            body.put32(0)
            body.put(IPv6Address(prefix, 0))
        }
        if !nameServers.isEmpty {
            var servers = ByteWriter(capacity: 16)
            for server in nameServers { servers.put(server) }
            putNames(NDPOptions.Kind.recursiveNameServers, servers.bytes, into: &body)
        }
        if !searchDomains.isEmpty {
            var domains = ByteWriter(capacity: 64)
            for domain in searchDomains { domain.emit(into: &domains) }
            domains.putZeros((NDPOptions.unit - domains.count % NDPOptions.unit) % NDPOptions.unit)
            putNames(NDPOptions.Kind.searchDomains, domains.bytes, into: &body)
        }
        if let nat64 {
            body.put8(NDPOptions.Kind.nat64Prefix)
            body.put8(2)
            body.put16(nat64Lifetime & ~RouterAdvertisement.lengthMask | nat64.lengthCode)
            body.put(Array(nat64.network.base.bytes[..<RouterAdvertisement.nat64Bytes]))
        }
        return body.bytes
    }

    /// The bits of the length code, below those of the lifetime (RFC 8781 section 4).
    private static let lengthMask: UInt16 = 7
    /// Bytes of the prefix in the option.
    private static let nat64Bytes = 12

    private func putNames(_ kind: UInt8, _ contents: [UInt8], into body: inout ByteWriter) {
        body.put8(kind)
        body.put8(UInt8((RouterAdvertisement.timedHeader + contents.count) / NDPOptions.unit))
        body.put16(0)
        body.put32(namesLifetime)
        body.put(contents)
    }

    /// The advertisement as a frame.
    package func frame(from source: IPv6Address, to destination: (IPv6Address, MACAddress)) -> [UInt8] {
        let header = IPv6Header(
            source: source, destination: destination.0, nextHeader: IPProtocol.icmpv6,
            hopLimit: NeighborDiscovery.hopLimit)
        return NeighborDiscovery.frame(
            header, from: hardware, to: destination.1, type: ICMPv6Type.routerAdvertisement, body: body)
    }
}

extension RouterAdvertisement {
    /// Offsets in bytes from the start of the message, and of options.
    private enum Field {
        static let hopLimit = 4, flags = 5, lifetime = 6
        static let mtu = 4, lifetimes = 4, preferred = 8, prefix = 16, contents = 8
        static let prefixOption = 32, nat64Option = 16
        static let nat64 = 2, nat64High = 4, nat64Low = 12
    }

    /// Parses a message, from its type to the packet's end. Unknown options are ignored, and so is every prefix but the
    /// first one of 64 bits for addresses.
    /// - Throws: `truncated`, `badField` for another type, `badLength` for an option that is too short.
    package init(parsing message: RawSpan) throws(WireError) {
        guard message.byteCount >= NeighborDiscovery.routerAdvertisementLength else { throw .truncated }
        guard message.byte(at: ICMPHeader.Field.type) == ICMPv6Type.routerAdvertisement else { throw .badField }
        self.init(hardware: .zero)
        hopLimit = message.byte(at: Field.hopLimit)
        isManaged = message.byte(at: Field.flags) & Flags.managed != 0
        hasOtherInformation = message.byte(at: Field.flags) & Flags.other != 0
        routerLifetime = message.big16(at: Field.lifetime)
        var options = NDPOptions(message.from(NeighborDiscovery.routerAdvertisementLength))
        while !options.isAtEnd { try take(options.next()) }
    }

    private mutating func take(_ option: RawSpan) throws(WireError) {
        switch option.byte(at: NDPOptions.Field.kind) {
        case NDPOptions.Kind.sourceLinkLayerAddress:
            hardware = MACAddress(option, at: NDPOptions.addressOffset)
        case NDPOptions.Kind.mtu:
            mtu = option.big32(at: Field.mtu)
        case NDPOptions.Kind.prefixInformation:
            guard option.byteCount == Field.prefixOption else { throw .badLength }
            let length = option.byte(at: 2), flags = option.byte(at: 3)
            guard prefix == nil, length == RouterAdvertisement.prefixBits,
                flags & RouterAdvertisement.prefixFlags == RouterAdvertisement.prefixFlags
            else { return }
            prefix = option.big64(at: Field.prefix)
            validLifetime = option.big32(at: Field.lifetimes)
            preferredLifetime = option.big32(at: Field.preferred)
        case NDPOptions.Kind.recursiveNameServers:
            namesLifetime = option.big32(at: Field.lifetimes)
            var offset = Field.contents
            while offset + 16 <= option.byteCount {
                nameServers.append(IPv6Address(option, at: offset))
                offset += 16
            }
        case NDPOptions.Kind.searchDomains:
            namesLifetime = option.big32(at: Field.lifetimes)
            var offset = Field.contents
            // The rest is padding.
            while offset < option.byteCount, option.byte(at: offset) != 0 {
                searchDomains.append(try DNSName(parsing: option, at: &offset))
            }
        case NDPOptions.Kind.nat64Prefix:
            guard option.byteCount == Field.nat64Option else { throw .badLength }
            let scaled = option.big16(at: Field.nat64), code = Int(scaled & RouterAdvertisement.lengthMask)
            guard nat64 == nil, code < NAT64Prefix.lengths.count else { return }
            let low = UInt64(option.big32(at: Field.nat64Low)) << 32
            nat64 = NAT64Prefix(
                IPv6Network(
                    containing: IPv6Address(option.big64(at: Field.nat64High), low),
                    prefixLength: NAT64Prefix.lengths[code]))
            nat64Lifetime = scaled & ~RouterAdvertisement.lengthMask
        default:
            break
        }
    }
}
