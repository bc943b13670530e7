// SPDX-License-Identifier: Apache-2.0

/// The name under which a running network can be reached: 1 to 64 letters, digits, dots, hyphens and underscores; the
/// first one is a letter or digit. It is the name of the control socket's file.
package struct NetworkName: Hashable, Sendable, CustomStringConvertible {
    /// Bytes, few enough for the path of a socket.
    package static let maximumLength = 64

    package let description: String

    /// Nil for any other text.
    package init?(_ text: String) {
        guard (1...NetworkName.maximumLength).contains(text.utf8.count), text.utf8.allSatisfy(NetworkName.isAllowed),
            let first = text.utf8.first, NetworkName.isAlphanumeric(first)
        else { return nil }
        description = text
    }

    /// The default name, from the switch's directory or the gateway's address: other characters become hyphens.
    package init(derivedFrom text: String) {
        let word = text.split(separator: "/").last.map(String.init) ?? text
        let allowed = word.utf8.map { NetworkName.isAllowed($0) ? $0 : UInt8(ascii: "-") }
        // Room for a number after it.
        let name = String(
            decoding: allowed.drop { !NetworkName.isAlphanumeric($0) }.prefix(NetworkName.maximumLength - 8),
            as: UTF8.self)
        description = name.isEmpty ? "network" : name
    }

    /// The name with a number after it, for another network with the same default name.
    package func numbered(_ number: Int) -> NetworkName { NetworkName(derivedFrom: "\(description)-\(number)") }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        isAlphanumeric(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
    }
}
