// SPDX-License-Identifier: Apache-2.0

/// The system that the program was built for, for the few defaults that differ.
package enum OperatingSystem {
    /// Whether that is macOS.
    package static var isMacOS: Bool {
        #if os(macOS)
            true
        #else
            false
        #endif
    }

    /// The name of the loopback interface.
    package static var loopbackInterface: String { isMacOS ? "lo0" : "lo" }
}
