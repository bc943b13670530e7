// SPDX-License-Identifier: Apache-2.0

/// A DHCP message over Ethernet (RFC 2131 section 2): the payload of a UDP datagram between ports 67 and 68.
@usableFromInline
package struct DHCPv4Message: Equatable, Sendable {
    /// Message types (RFC 2132 section 9.6).
    package enum Kind: UInt8, Sendable {
        case discover = 1, offer, request, decline, ack, nak, release, inform
    }

    /// Offsets in bytes from the start of the message (RFC 2131 section 2).
    @usableFromInline
    package enum Field {
        /// `op`: 1 of a client, 2 of a server.
        @inlinable package static var operation: Int { 0 }
        /// `htype`: 1 for Ethernet.
        @inlinable package static var hardwareType: Int { 1 }
        /// `hlen`: bytes of `chaddr` that count.
        @inlinable package static var hardwareLength: Int { 2 }
        /// `xid`, four bytes.
        @inlinable package static var transactionID: Int { 4 }
        /// `secs`, two bytes.
        @inlinable package static var secondsElapsed: Int { 8 }
        /// `flags`, two bytes, of which only the broadcast flag has a meaning.
        @inlinable package static var flags: Int { 10 }
        /// `ciaddr`, four bytes.
        @inlinable package static var clientAddress: Int { 12 }
        /// `yiaddr`, four bytes.
        @inlinable package static var yourAddress: Int { 16 }
        /// `siaddr`, four bytes.
        @inlinable package static var nextServer: Int { 20 }
        /// `giaddr`, four bytes.
        @inlinable package static var relay: Int { 24 }
        /// `chaddr`, 16 bytes, of which an Ethernet address takes the first six.
        @inlinable package static var clientHardware: Int { 28 }
        static let serverName = 44..<108
        static let bootFile = 108..<236
        /// The magic cookie before the options, four bytes (RFC 2131 section 3).
        @inlinable package static var cookie: Int { 236 }
    }

    private enum Operation {
        static let request: UInt8 = 1, reply: UInt8 = 2
    }

    /// Bits of `Field.flags`.
    private static let broadcastFlag: UInt16 = 0x8000
    /// Hardware type and address length of Ethernet.
    private static let ethernet: UInt8 = 1
    private static let ethernetAddressLength: UInt8 = 6
    /// Option codes without a length (RFC 2132 sections 3.1 and 3.2).
    private static let pad: UInt8 = 0
    private static let end: UInt8 = 255
    /// Bytes that one option can carry; a longer value is split (RFC 3396).
    private static let longestOption = 255
    /// Messages are padded to the length of a BOOTP message (RFC 1542 section 2.1).
    private static let minimumLength = 300

    /// Bytes of a name that fits into `bootFile`.
    package static let longestBootFile = Field.bootFile.count - 1

    /// Bytes before the options: the BOOTP header and the magic cookie.
    package static let fixedLength = 240
    /// Bytes of the IP datagram that every client must accept (RFC 2131 section 2).
    package static let minimumMaximumSize = 576
    private static let cookie: UInt32 = 0x6382_5363

    /// True for BOOTREPLY, which servers send.
    package var isReply: Bool
    /// `xid`, chosen by the client.
    package var transactionID: UInt32
    /// `secs`, since the client began.
    package var secondsElapsed: UInt16 = 0
    /// The broadcast flag: the client cannot receive unicast before it is configured.
    package var hasBroadcastFlag = false
    /// `ciaddr`: the address that the client has.
    package var clientAddress: IPv4Address = .any
    /// `yiaddr`: the address that the server assigns.
    package var yourAddress: IPv4Address = .any
    /// `siaddr`.
    package var nextServer: IPv4Address = .any
    /// `giaddr`: the relay agent.
    package var relay: IPv4Address = .any
    /// `chaddr`.
    package var clientHardware: MACAddress
    /// `sname`, without the zeros after it; empty if the field carries options.
    package var serverName: [UInt8] = []
    /// `file`, without the zeros after it; empty if the field carries options.
    package var bootFile: [UInt8] = []
    /// Options in the order in which they were first read, or are to be written. The pieces of a split option are
    /// joined (RFC 3396).
    package private(set) var options: [(code: UInt8, value: [UInt8])] = []

    /// A message without options.
    package init(isReply: Bool, transactionID: UInt32, clientHardware: MACAddress) {
        self.isReply = isReply
        self.transactionID = transactionID
        self.clientHardware = clientHardware
    }

    @usableFromInline
    package static func == (a: DHCPv4Message, b: DHCPv4Message) -> Bool {
        a.isReply == b.isReply && a.transactionID == b.transactionID && a.secondsElapsed == b.secondsElapsed
            && a.hasBroadcastFlag == b.hasBroadcastFlag
            && a.clientAddress == b.clientAddress && a.yourAddress == b.yourAddress && a.nextServer == b.nextServer
            && a.relay == b.relay
            && a.clientHardware == b.clientHardware && a.serverName == b.serverName && a.bootFile == b.bootFile
            && a.options.elementsEqual(b.options) { $0.code == $1.code && $0.value == $1.value }
    }

    // MARK: Parsing

    /// - Throws: `truncated` below 240 bytes or if an option reaches beyond its field; `badField` for another hardware
    ///   type than Ethernet, an unknown operation, or a missing cookie.
    package init(parsing bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= DHCPv4Message.fixedLength else { throw .truncated }
        let operation = bytes.byte(at: Field.operation)
        guard operation == Operation.request || operation == Operation.reply,
            bytes.byte(at: Field.hardwareType) == DHCPv4Message.ethernet,
            bytes.byte(at: Field.hardwareLength) == DHCPv4Message.ethernetAddressLength,
            bytes.big32(at: Field.cookie) == DHCPv4Message.cookie
        else { throw .badField }
        isReply = operation == Operation.reply
        transactionID = bytes.big32(at: Field.transactionID)
        secondsElapsed = bytes.big16(at: Field.secondsElapsed)
        hasBroadcastFlag = bytes.big16(at: Field.flags) & DHCPv4Message.broadcastFlag != 0
        clientAddress = IPv4Address(bytes, at: Field.clientAddress)
        yourAddress = IPv4Address(bytes, at: Field.yourAddress)
        nextServer = IPv4Address(bytes, at: Field.nextServer)
        relay = IPv4Address(bytes, at: Field.relay)
        clientHardware = MACAddress(bytes, at: Field.clientHardware)
        try parseOptions(bytes.from(DHCPv4Message.fixedLength))
        // The file and sname fields may carry further options (RFC 2132 section 9.3), file first.
        let overload = self[.overload]?.first ?? 0
        let fields = (file: bytes.extracting(Field.bootFile), server: bytes.extracting(Field.serverName))
        if overload & 1 != 0 { try parseOptions(fields.file) } else { bootFile = DHCPv4Message.text(fields.file) }
        if overload & 2 != 0 { try parseOptions(fields.server) } else { serverName = DHCPv4Message.text(fields.server) }
    }

    /// The bytes before the first zero; the last byte of a field is one (RFC 2131 section 2).
    private static func text(_ field: RawSpan) -> [UInt8] { Array(field.copied().dropLast().prefix { $0 != 0 }) }

    private mutating func parseOptions(_ bytes: RawSpan) throws(WireError) {
        var offset = 0
        while offset < bytes.byteCount {
            let code = bytes.byte(at: offset)
            if code == DHCPv4Message.end { return }
            offset += 1
            if code == DHCPv4Message.pad { continue }
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
        get { self[code: option.rawValue] }
        set { self[code: option.rawValue] = newValue }
    }

    /// The value of the option with a code; nil if absent. Setting replaces it, or removes it with nil.
    package subscript(code code: UInt8) -> [UInt8]? {
        get { options.first { $0.code == code }?.value }
        set {
            options.removeAll { $0.code == code }
            if let newValue { options.append((code, newValue)) }
        }
    }

    /// The message type (option 53); nil without a valid one.
    package var kind: Kind? {
        guard let value = self[.messageType], value.count == 1 else { return nil }
        return Kind(rawValue: value[0])
    }

    /// The first address of an option that holds one or more; nil if it is absent or of a wrong length.
    package func address(_ option: DHCPOption) -> IPv4Address? { addresses(option).first }

    /// All addresses of an option; none if it is absent or of a wrong length.
    package func addresses(_ option: DHCPOption) -> [IPv4Address] {
        guard let value = self[option], value.count % 4 == 0 else { return [] }
        return stride(from: 0, to: value.count, by: 4).map { IPv4Address(value.rawSpan.big32(at: $0)) }
    }

    /// An option of 32 bits; nil if it is absent or of a wrong length.
    package func seconds(_ option: DHCPOption) -> UInt32? {
        guard let value = self[option], value.count == 4 else { return nil }
        return value.rawSpan.big32(at: 0)
    }

    /// An option of 16 bits; nil if it is absent or of a wrong length.
    package func short(_ option: DHCPOption) -> UInt16? {
        guard let value = self[option], value.count == 2 else { return nil }
        return value.rawSpan.big16(at: 0)
    }

    /// Sets an option that holds addresses, or removes it if there are none.
    package mutating func set(_ option: DHCPOption, _ addresses: [IPv4Address]) {
        self[option] = addresses.isEmpty ? nil : addresses.flatMap(\.bytes)
    }

    /// Replaces the value of an option, which keeps its place, or removes it with nil.
    package mutating func replace(_ option: DHCPOption, with value: [UInt8]?) {
        guard let value, let index = options.firstIndex(where: { $0.code == option.rawValue }) else {
            self[option] = value
            return
        }
        options[index].value = value
    }

    /// Sets an option of 32 bits.
    package mutating func set(_ option: DHCPOption, seconds: UInt32) { self[option] = IPv4Address(seconds).bytes }

    /// Sets an option of 16 bits.
    package mutating func set(_ option: DHCPOption, short: UInt16) {
        self[option] = [UInt8(short >> 8), UInt8(truncatingIfNeeded: short)]
    }

    // MARK: Emitting

    /// The message as bytes, padded to BOOTP's 300.
    /// - Parameter limit: bytes that may be written; an option that does not fit is left out.
    package func bytes(limit: Int = .max) -> [UInt8] {
        var writer = ByteWriter(capacity: 400)
        writer.put8(isReply ? Operation.reply : Operation.request)
        writer.put8(DHCPv4Message.ethernet)
        writer.put8(DHCPv4Message.ethernetAddressLength)
        writer.put8(0)
        writer.put32(transactionID)
        writer.put16(secondsElapsed)
        writer.put16(hasBroadcastFlag ? DHCPv4Message.broadcastFlag : 0)
        for address in [clientAddress, yourAddress, nextServer, relay] { writer.put(address) }
        writer.put(clientHardware)
        writer.putZeros(Field.serverName.lowerBound - writer.count)
        writer.put(serverName.prefix(Field.serverName.count - 1))
        writer.putZeros(Field.bootFile.lowerBound - writer.count)
        writer.put(bootFile.prefix(Field.bootFile.count - 1))
        writer.putZeros(Field.cookie - writer.count)
        writer.put32(DHCPv4Message.cookie)
        for index in fit(limit: limit).options {
            let (code, value) = options[index]
            // An option longer than 255 bytes is split (RFC 3396).
            for piece in 0..<DHCPv4Message.pieces(ofOption: value.count) {
                let part = value.dropFirst(piece * DHCPv4Message.longestOption).prefix(DHCPv4Message.longestOption)
                writer.put8(code)
                writer.put8(UInt8(part.count))
                writer.put(part)
            }
        }
        writer.put8(DHCPv4Message.end)
        writer.putZeros(max(0, DHCPv4Message.minimumLength - writer.count))
        return writer.bytes
    }

    private static func pieces(ofOption count: Int) -> Int { max(1, (count + longestOption - 1) / longestOption) }

    /// Bytes of an option in a message, with the code and the length of each of its pieces (RFC 3396).
    /// - Parameter count: bytes of its value.
    static func encodedLength(ofOption count: Int) -> Int { count + 2 * pieces(ofOption: count) }

    /// The indices of the options that fit, and how many bytes are left after them.
    private func fit(limit: Int) -> (options: [Int], room: Int) {
        // The end option has one byte.
        var fitting: [Int] = [], room = limit - DHCPv4Message.fixedLength - 1
        for (index, option) in options.enumerated() {
            let length = DHCPv4Message.encodedLength(ofOption: option.value.count)
            guard length <= room else { continue }
            room -= length
            fitting.append(index)
        }
        return (fitting, room)
    }

    /// Bytes that a further option may take.
    package func room(limit: Int) -> Int { fit(limit: limit).room }

    /// The codes of the options that do not fit.
    package func codesLeftOut(limit: Int) -> [UInt8] {
        let fitting = fit(limit: limit).options
        return options.indices.filter { !fitting.contains($0) }.map { options[$0].code }
    }
}
