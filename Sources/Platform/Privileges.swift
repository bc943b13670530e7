// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// This process's privileges beyond those of its user.
package enum Privileges {
    /// Selects the capabilities to keep. Threads started from now on have only those; the calling thread from `drop`
    /// on. Programs that this process starts after `drop` cannot gain others either, including set-user-id programs.
    package static func keep(_ capabilities: Capabilities) { platform_privileges_keep(capabilities.rawValue) }

    /// Permanently drops all other capabilities of the calling thread. Does nothing on macOS.
    package static func drop() throws(SystemError) {
        try SystemError.check(platform_privileges_drop(), "give up privileges")
    }
}
