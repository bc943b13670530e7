// SPDX-License-Identifier: Apache-2.0

/// Error codes of TFTP (RFC 1350 section 5, RFC 2347).
package enum TFTPErrorCode: UInt16, Sendable {
    case notDefined = 0, fileNotFound, accessViolation, diskFull, illegalOperation, unknownTransfer, fileExists,
        noSuchUser, optionRefused
}

/// A TFTP message: the payload of a UDP datagram (RFC 1350 section 5, RFC 2347).
package enum TFTPMessage: Equatable, Sendable {
    /// The client reads a file.
    case read(TFTPRequest)
    /// The client writes a file.
    case write(TFTPRequest)
    /// A block of the file. It is the last one if it is shorter than the block size.
    case data(block: UInt16, [UInt8])
    /// Blocks up to this one have arrived.
    case acknowledgement(block: UInt16)
    /// The transfer has failed.
    case error(UInt16, text: [UInt8])
    /// The options that the server has accepted.
    case optionAcknowledgement([TFTPOption])

    private enum Code {
        static let read: UInt16 = 1, write: UInt16 = 2, data: UInt16 = 3, acknowledgement: UInt16 = 4,
            error: UInt16 = 5, optionAcknowledgement: UInt16 = 6
    }

    /// Bytes before the contents of a block, and of the text of an error.
    package static let headerLength = 4
    private static let codeLength = 2

    /// - Throws: `truncated` for a message that ends too soon, `badField` for an unknown code.
    package init(parsing bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= TFTPMessage.codeLength else { throw .truncated }
        let code = bytes.big16(at: 0)
        switch code {
        case Code.read: self = .read(try TFTPRequest(parsing: bytes.from(TFTPMessage.codeLength)))
        case Code.write: self = .write(try TFTPRequest(parsing: bytes.from(TFTPMessage.codeLength)))
        case Code.optionAcknowledgement:
            self = .optionAcknowledgement(TFTPOption.list(try TFTPRequest.texts(bytes.from(TFTPMessage.codeLength))))
        case Code.data, Code.acknowledgement, Code.error:
            guard bytes.byteCount >= TFTPMessage.headerLength else { throw .truncated }
            let number = bytes.big16(at: TFTPMessage.codeLength)
            let rest = bytes.from(TFTPMessage.headerLength).copied()
            self =
                code == Code.data
                ? .data(block: number, rest)
                : code == Code.acknowledgement
                    ? .acknowledgement(block: number) : .error(number, text: Array(rest.prefix { $0 != 0 }))
        default: throw .badField
        }
    }

    /// The message as bytes.
    package var bytes: [UInt8] {
        var writer = ByteWriter(capacity: 64)
        switch self {
        case .read(let request):
            writer.put16(Code.read)
            request.emit(into: &writer)
        case .write(let request):
            writer.put16(Code.write)
            request.emit(into: &writer)
        case .data(let block, let contents):
            writer.put16(Code.data)
            writer.put16(block)
            writer.put(contents)
        case .acknowledgement(let block):
            writer.put16(Code.acknowledgement)
            writer.put16(block)
        case .error(let code, let text):
            writer.put16(Code.error)
            writer.put16(code)
            writer.put(text)
            writer.put8(0)
        case .optionAcknowledgement(let options):
            writer.put16(Code.optionAcknowledgement)
            for option in options { option.emit(into: &writer) }
        }
        return writer.bytes
    }
}

/// An option of a transfer, such as `blksize` and `1432` (RFC 2347).
package struct TFTPOption: Equatable, Sendable {
    /// In lower case, because case does not matter.
    package let name: [UInt8]
    /// Mostly a decimal number.
    package let value: [UInt8]

    /// An option with a number.
    package init(_ name: String, _ value: Int) {
        self.init(name: Array(name.utf8), value: Array(String(value).utf8))
    }

    init(name: [UInt8], value: [UInt8]) {
        self.name = name.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
        self.value = value
    }

    /// The value as a number without a sign; nil for any other text.
    package var number: Int? {
        guard (1...18).contains(value.count),
            value.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return value.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
    }

    /// Names and values in turn. A name without a value is left out.
    static func list(_ texts: ArraySlice<[UInt8]>) -> [TFTPOption] {
        stride(from: texts.startIndex, to: texts.endIndex - 1, by: 2).map {
            TFTPOption(name: texts[$0], value: texts[$0 + 1])
        }
    }

    func emit(into writer: inout ByteWriter) {
        writer.put(name)
        writer.put8(0)
        writer.put(value)
        writer.put8(0)
    }
}

/// A request to read or write a file (RFC 1350 section 5, RFC 2347).
package struct TFTPRequest: Equatable, Sendable {
    /// Options in one request. Others are ignored.
    private static let maximumOptions = 16
    /// Bytes of a request without its code: RFC 2347 allows 512 for all of it.
    package static let maximumLength = 510

    /// The file's name, as the client has sent it.
    package let name: [UInt8]
    /// `octet`, or another mode, in lower case.
    package let mode: [UInt8]
    /// Options in the order of the request.
    package let options: [TFTPOption]

    /// A request for a file as it is.
    package init(_ name: String, _ options: [TFTPOption] = []) {
        self.name = Array(name.utf8)
        self.mode = Array("octet".utf8)
        self.options = options
    }

    /// - Throws: `truncated` without a name and a mode, each with its zero; `badLength` if the request is too long.
    init(parsing bytes: RawSpan) throws(WireError) {
        let texts = try TFTPRequest.texts(bytes)
        guard texts.count >= 2 else { throw .truncated }
        name = texts[0]
        mode = TFTPOption(name: texts[1], value: []).name
        options = Array(TFTPOption.list(texts[2...]).prefix(TFTPRequest.maximumOptions))
    }

    /// The texts that end with a zero. What is after the last zero is ignored: some firmware fills up the datagram.
    static func texts(_ bytes: RawSpan) throws(WireError) -> ArraySlice<[UInt8]> {
        guard bytes.byteCount <= maximumLength else { throw .badLength }
        let parts = bytes.copied().split(separator: 0, omittingEmptySubsequences: false).map(Array.init)
        return parts.dropLast()
    }

    func emit(into writer: inout ByteWriter) {
        writer.put(name)
        writer.put8(0)
        writer.put(mode)
        writer.put8(0)
        for option in options { option.emit(into: &writer) }
    }
}
