// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import Logging
import Wire

// The values of options, as they are written on the command line.

extension IPv4Address: ExpressibleByArgument {
    @usableFromInline package init?(argument: String) { self.init(argument) }
}

/// A network's mask: `255.255.255.0`, `/24` or `24`.
struct MaskArgument: ExpressibleByArgument {
    let address: IPv4Address

    init?(argument: String) {
        let digits = argument.first == "/" ? argument.dropFirst() : Substring(argument)
        if let length = Int(digits), (0...32).contains(length),
            digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        {
            address = IPv4Address(length == 0 ? 0 : UInt32.max << (32 - length))
        } else if let address = IPv4Address(argument) {
            self.address = address
        } else {
            return nil
        }
    }
}

extension Configuration.DHCP: ExpressibleByArgument {}

extension Configuration.UplinkKind: ExpressibleByArgument {}

extension Logger.Level: @retroactive ExpressibleByArgument {}

/// vmnet's names of its modes.
enum ModeArgument: String, CaseIterable, ExpressibleByArgument {
    case shared, host, bridged
}

/// A UUID as 16 bytes (RFC 9562 section 4).
struct UUIDArgument: ExpressibleByArgument {
    let bytes: [UInt8]

    init(bytes: [UInt8]) { self.bytes = bytes }

    var text: String {
        let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
    }

    init?(argument: String) {
        let groups = argument.split(separator: "-", omittingEmptySubsequences: false)
        guard groups.map(\.utf8.count) == [8, 4, 4, 4, 12] else { return nil }
        let digits = Array(groups.joined().utf8)
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 32, by: 2) {
            guard digits[index] != UInt8(ascii: "+"),
                let byte = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(byte)
        }
        self.bytes = bytes
    }
}

/// A unique local IPv6 prefix of 64 bits, such as `fd00:1:2:3::` (RFC 4193).
struct IPv6PrefixArgument: ExpressibleByArgument {
    let text: String

    init?(argument: String) {
        guard argument.hasSuffix("::"), argument.lowercased().hasPrefix("fd") else { return nil }
        let groups = argument.dropLast(2).split(separator: ":", omittingEmptySubsequences: false)
        guard (1...4).contains(groups.count),
            groups.allSatisfy({ (1...4).contains($0.count) && UInt16($0, radix: 16) != nil })
        else { return nil }
        text = argument
    }
}
