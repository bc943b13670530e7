// SPDX-License-Identifier: Apache-2.0
import Wire

/// The domain below which guests have names, such as `vm.internal`: labels of letters, digits and hyphens (RFC 1123
/// section 2.1).
package struct GuestDomain: Hashable, Sendable, CustomStringConvertible {
    /// Octets, so that the name of a guest, a dot and the domain fit into 253 (RFC 1035 section 2.3.4).
    package static let maximumLength = 253 - GuestName.maximumLength - 1
    /// The domain if the user gives none. `internal` is reserved for private use by ICANN.
    package static let standard = GuestDomain(name: DNSName("vm.internal")!)
    /// Top-level domains with a fixed meaning: reverse names (RFC 3172), the host itself (RFC 6761 section 6.3),
    /// and multicast DNS (RFC 6762).
    private static let reserved: Set = ["arpa", "localhost", "local"]

    /// The name in lower case.
    package let name: DNSName

    private init(name: DNSName) { self.name = name }

    /// Parses a name; nil for any other text, for a domain with a reserved meaning, and for a top-level domain without
    /// a letter, which programs could parse as an address.
    package init?(_ text: some StringProtocol) {
        guard (1...GuestDomain.maximumLength).contains(text.utf8.count), let name = DNSName(String(text)),
            name.labels.allSatisfy(GuestDomain.isHostLabel), let top = name.labels.last,
            top.contains(where: { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) }),
            !GuestDomain.reserved.contains(String(decoding: top, as: UTF8.self))
        else { return nil }
        self.name = name
    }

    /// Why a text is none, and what to write; nil for a domain.
    package static func refusal(of text: String) -> String? {
        if GuestDomain(text) != nil { return nil }
        if text.isEmpty { return "there is no domain; write one, such as vm.internal" }
        guard text.utf8.allSatisfy({ $0 < 0x80 }) else { return "it is not in ASCII; write the form with xn--" }
        let labels = text.lowercased().split(separator: ".", omittingEmptySubsequences: false)
        guard labels.allSatisfy({ (1...63).contains($0.utf8.count) && isHostLabel(Array($0.utf8)) }) else {
            return """
                it is not a domain; write labels of letters, digits and hyphens with dots between them, each with 63 \
                characters at most and no hyphen at its ends
                """
        }
        if text.utf8.count > maximumLength {
            return "it has more than \(maximumLength) characters, so that no name of a guest fits; write a shorter one"
        }
        let top = String(labels[labels.count - 1])
        if reserved.contains(top) {
            return "names below \(top) have a fixed meaning; write another, such as vm.internal"
        }
        return "programs could read it as a number; write a domain whose last label has a letter, such as vm.internal"
    }

    private static func isHostLabel(_ label: [UInt8]) -> Bool {
        let hyphen = UInt8(ascii: "-")
        return label.first != hyphen && label.last != hyphen
            && label.allSatisfy {
                $0 == hyphen || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
            }
    }

    package var description: String { name.description }
}
