// SPDX-License-Identifier: Apache-2.0
import Wire

/// The parts of a text `HOST[/LENGTH][:PORT]`, whose host may be anything.
struct WrittenDestination {
    /// Without brackets.
    let host: Substring
    /// In brackets, or with colons.
    let isIPv6: Bool
    let isBracketed: Bool
    /// What follows the slash; nil without one.
    let length: Substring?
    /// What follows the colon; nil without one.
    let port: Substring?

    /// Nil for a text with something else after the host.
    init?(_ text: String) {
        var rest = text[...]
        isBracketed = rest.first == "["
        if isBracketed {
            guard let end = rest.firstIndex(of: "]") else { return nil }
            host = rest[rest.index(after: rest.startIndex)..<end]
            rest = rest[rest.index(after: end)...]
            isIPv6 = true
        } else {
            let hasColons = rest.count(where: { $0 == ":" }) > 1
            isIPv6 = hasColons
            let end = rest.firstIndex { $0 == "/" || ($0 == ":" && !hasColons) } ?? rest.endIndex
            host = rest[..<end]
            rest = rest[end...]
        }
        if let colon = rest.firstIndex(of: ":") {
            port = rest[rest.index(after: colon)...]
            rest = rest[..<colon]
        } else {
            port = nil
        }
        guard rest.isEmpty || rest.first == "/" else { return nil }
        length = rest.isEmpty ? nil : rest.dropFirst()
    }

    /// The two meanings of the text; nil if it has one.
    var ambiguity: AmbiguousEndpoint? {
        isIPv6 && !isBracketed && length == nil && port == nil ? AmbiguousEndpoint(host) : nil
    }
}
