// SPDX-License-Identifier: Apache-2.0
import Wire

/// The names that an egress rule is about: one name, or all names below one.
///
///     github.com              that name
///     *.debian.org            deb.debian.org, security.cdn.debian.org, but not debian.org
package struct NamePattern: Hashable, Sendable {
    private static let wildcard = "*."

    /// The name, or the one that all others are below.
    package let name: DNSName
    /// The pattern is for names below `name`.
    package let isBelow: Bool

    /// Parses the form above, with at least two labels of letters, digits, hyphens and underscores; nil for any other
    /// text, and for one that ends in a number, as an address does. A name of another script is written in its ASCII
    /// form (RFC 5890, `xn--`).
    package init?(_ text: String) {
        isBelow = text.hasPrefix(NamePattern.wildcard)
        let rest = isBelow ? String(text.dropFirst(NamePattern.wildcard.count)) : text
        let isPlain = rest.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        guard isPlain, let name = DNSName(rest), name.labels.count >= 2, let last = name.labels.last,
            !last.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        self.name = name
    }

    /// Whether the pattern is for `name`.
    package func matches(_ name: DNSName) -> Bool {
        isBelow ? name.labels.count > self.name.labels.count && name.isWithin(self.name) : name == self.name
    }
}

extension NamePattern: CustomStringConvertible {
    package var description: String { (isBelow ? NamePattern.wildcard : "") + name.description }
}
