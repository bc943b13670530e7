// SPDX-License-Identifier: Apache-2.0
import CLibrary

/// The running system in uname(2)'s words.
package struct SystemName: Sendable, Equatable {
    /// Such as `Linux` or `Darwin`.
    package let name: String
    /// The kernel's release, such as `6.1.0-18-amd64`.
    package let release: String
    /// The processor's, such as `x86_64` or `aarch64`.
    package let architecture: String

    /// The system that this process runs on. A text that uname(2) does not give is empty.
    package static var current: SystemName {
        var raw = utsname()
        unsafe uname(&raw)
        // The structure is fields of one size: system, node, release, version, architecture, and on Linux the domain.
        let size = MemoryLayout.size(ofValue: raw.sysname)
        return unsafe withUnsafeBytes(of: raw) { bytes in
            func text(_ field: Int) -> String {
                unsafe String(decoding: bytes[field * size..<(field + 1) * size].prefix { $0 != 0 }, as: UTF8.self)
            }
            return SystemName(name: text(0), release: text(2), architecture: text(4))
        }
    }
}
