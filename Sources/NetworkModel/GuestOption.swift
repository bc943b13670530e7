// SPDX-License-Identifier: Apache-2.0
import Wire

/// A DHCP option that the user adds to the replies for guests: `ntp-server=192.0.2.1`, `42=192.0.2.1`,
/// `224=hex:0a0b` or `224=text:abc`.
package struct GuestOption: Hashable, Sendable {
    /// Why a text is no such option.
    package struct Refusal: Error, CustomStringConvertible {
        /// The cause and the next step.
        package let description: String

        /// - Parameter description: the cause and the next step.
        package init(_ description: String) { self.description = description }
    }

    /// Bytes of the longest value. It fits into a packet of 1,500 bytes, beside the other options.
    package static let maximumLength = 1024

    /// RFC 2132 section 2; IANA's registry "BOOTP Vendor Extensions and DHCP Options".
    package let code: UInt8
    /// What follows the length in the message. A value of more than 255 bytes is split (RFC 3396).
    package let value: [UInt8]

    /// - Precondition: `value` has 1 to `maximumLength` bytes.
    package init(code: UInt8, value: [UInt8]) {
        self.code = code
        self.value = value
    }

    /// Parses one of the forms above.
    /// - Throws: for an unknown name, a code that the server sets itself or that only clients send, and a value that
    ///   does not have the option's type.
    package init(_ text: some StringProtocol) throws(Refusal) {
        guard let equals = text.firstIndex(of: "=") else {
            throw Refusal("'\(text)' has no value; write NAME=VALUE or CODE=VALUE")
        }
        let name = String(text[..<equals]), value = String(text[text.index(after: equals)...])
        let (code, format) = try GuestOption.option(named: name)
        let bytes = try GuestOption.bytes(of: value, format, called: name)
        guard !bytes.isEmpty else { throw Refusal("'\(text)' has an empty value; leave the option out") }
        guard bytes.count <= GuestOption.maximumLength else {
            throw Refusal(
                """
                the value of \(name) has \(bytes.count) bytes and may have \(GuestOption.maximumLength); shorten it
                """
            )
        }
        self.init(code: code, value: bytes)
    }

    // MARK: Names and codes

    private static func option(named name: String) throws(Refusal) -> (code: UInt8, format: GuestOptionFormat?) {
        if let known = GuestOptionFormat.named[name] { return (known.code, known.format) }
        guard let number = decimal(name) else {
            throw Refusal(
                """
                '\(name)' is no known option; write its code from 1 to 254, or one of \
                \(GuestOptionFormat.named.keys.sorted().joined(separator: ", "))
                """
            )
        }
        guard (1...254).contains(number) else {
            throw Refusal(
                "\(name) is no code of an option: 0 and 255 separate options, so use one from 1 to 254")
        }
        let code = UInt8(number)
        if let reason = refusal(of: code) { throw Refusal("option \(name) \(reason)") }
        return (code, GuestOptionFormat.named.values.first { $0.code == code }?.format)
    }

    /// Why the user cannot set an option; nil if it can be set.
    private static func refusal(of code: UInt8) -> String? {
        let own = "is set by the server for each reply; leave it out"
        let client = "is sent by clients only; leave it out"
        return switch code {
        case 1, 28: "follows from the network; use --vmnet-mask"
        case 12: "is the guest's own name; use --dhcp-host MAC,IP,NAME"
        case 26: "is the MTU of the network; use --vmnet-mtu"
        case 51, 58, 59: "is part of the lease time; use --lease-time"
        case 52, 53, 54, 56: own
        case 50, 55, 57, 61, 77, 93, 94, 97, 118, 145: client
        case 80: "is rapid commit (RFC 4039), which this server does not support; leave it out"
        case 81: "is the guest's own name (RFC 4702), which the server returns to guests that send it; leave it out"
        case 82: "is added by relay agents, and the network has none; leave it out"
        case 90: "is authentication (RFC 3118), which this server does not support; leave it out"
        default: nil
        }
    }

    // MARK: Values

    private static func bytes(
        of text: String, _ format: GuestOptionFormat?, called name: String
    ) throws(Refusal) -> [UInt8] {
        if text.hasPrefix("hex:") {
            guard let bytes = hexadecimalBytes(text.dropFirst(4)) else {
                throw Refusal("the value of \(name) is not hexadecimal, such as hex:0a0b or hex:0a:0b")
            }
            return bytes
        }
        if text.hasPrefix("text:") { return try characters(text.dropFirst(5), called: name) }
        guard let format else {
            throw Refusal("option \(name) has no type; write \(name)=hex:0a0b or \(name)=text:abc")
        }
        if format == .text { return try characters(text[...], called: name) }
        guard let bytes = format.bytes(of: text) else {
            throw Refusal("the value '\(text)' of \(name) is not \(format.description)\(format.hint(text))")
        }
        if format == .addresses, let useless = format.uselessAddress(in: text) {
            throw Refusal("\(useless) of \(name) is no server's address that guests reach; give another one")
        }
        return bytes
    }

    private static func characters(_ text: Substring, called name: String) throws(Refusal) -> [UInt8] {
        guard text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f }) else {
            throw Refusal("the value of \(name) has a control character; write it as hex:...")
        }
        return Array(text.utf8)
    }

    /// Pairs of digits, with or without colons between them.
    private static func hexadecimalBytes(_ text: Substring) -> [UInt8]? {
        var bytes: [UInt8] = []
        var high: Int?
        for character in text {
            if character == ":", high == nil { continue }
            guard character.isASCII, let digit = character.hexDigitValue else { return nil }
            if let first = high {
                bytes.append(UInt8(first << 4 | digit))
                high = nil
            } else {
                high = digit
            }
        }
        return high == nil ? bytes : nil
    }

    /// A number of one to three decimal digits.
    private static func decimal(_ text: String) -> Int? {
        guard (1...3).contains(text.utf8.count),
            text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return Int(text)
    }
}

extension [GuestOption] {
    /// The names of the search list (option 119); nil if it is not among these, or has anything but names.
    package var searchDomains: [DNSName]? {
        first { $0.code == DHCPOption.domainSearch.rawValue }.flatMap { DHCPSearchList.names(in: $0.value) }
    }
}
