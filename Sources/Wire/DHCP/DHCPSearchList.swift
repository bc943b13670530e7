// SPDX-License-Identifier: Apache-2.0

/// A list of domain names as one option carries it (RFC 3397 section 2): suffixes that an earlier name has are pointers
/// into the whole value (RFC 1035 section 4.1.4), whether the option is split (RFC 3396) or not.
package struct DHCPSearchList: Sendable {
    /// The value of the option.
    package private(set) var bytes: [UInt8] = []
    /// Where suffixes begin.
    private var offsets: [ArraySlice<[UInt8]>: Int] = [:]
    /// A pointer has 14 bits.
    private static let pointer: UInt16 = 0xc000

    /// An empty list.
    package init() {}

    /// Reads the names of an option's value; nil if it has anything else.
    package static func names(in value: [UInt8]) -> [DNSName]? {
        var names: [DNSName] = [], offset = 0
        while offset < value.count {
            guard let name = try? DNSName(parsing: value.rawSpan, at: &offset) else { return nil }
            names.append(name)
        }
        return names
    }

    /// Appends a name.
    /// - Parameter room: bytes of the message that the whole option may take.
    /// - Returns: false if it does not fit, which changes nothing.
    package mutating func append(_ name: DNSName, room: Int = .max) -> Bool {
        var added: [UInt8] = [], starts: [(ArraySlice<[UInt8]>, Int)] = []
        var rest = name.labels[...]
        while let label = rest.first, offsets[rest] == nil {
            starts.append((rest, bytes.count + added.count))
            added += [UInt8(label.count)] + label
            rest = rest.dropFirst()
        }
        if let known = offsets[rest], !rest.isEmpty {
            let pointer = DHCPSearchList.pointer | UInt16(known)
            added += [UInt8(pointer >> 8), UInt8(truncatingIfNeeded: pointer)]
        } else {
            added.append(0)
        }
        guard DHCPv4Message.encodedLength(ofOption: bytes.count + added.count) <= room else { return false }
        bytes += added
        for (suffix, offset) in starts where offset < DHCPSearchList.pointer ^ .max { offsets[suffix] = offset }
        return true
    }
}
