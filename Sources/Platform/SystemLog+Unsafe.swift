// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// Lines to the system's log (syslog(3)).
package enum SystemLog {
    /// - Parameter priority: 0 (emergency) to 7 (debug).
    package static func write(_ text: String, priority: Int32) { unsafe platform_syslog(priority, text) }
}
