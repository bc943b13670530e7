// SPDX-License-Identifier: Apache-2.0

/// The name of a file below the served directory, as a request has it.
///
/// A slash in front means the directory itself, because clients send both forms. Empty components are left out. A name
/// with `..`, a zero or a control character is refused. The process that opens the file follows no link.
package enum BootFileName {
    /// Bytes of one component (`NAME_MAX`).
    private static let longestComponent = 255

    /// The path below the directory, without a slash in front; nil if the name is refused.
    package static func path(_ name: [UInt8]) -> [UInt8]? {
        let slash = UInt8(ascii: "/"), dot = UInt8(ascii: ".")
        guard name.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else { return nil }
        let components = name.split(separator: slash)
        guard !components.isEmpty,
            components.allSatisfy({ $0.count <= longestComponent && !$0.elementsEqual([dot, dot]) })
        else { return nil }
        let kept = components.filter { !$0.elementsEqual([dot]) }
        return kept.isEmpty ? nil : Array(kept.joined(separator: [slash]))
    }
}
