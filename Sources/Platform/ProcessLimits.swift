// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// Resource limits of this process (setrlimit(2)).
package enum ProcessLimits {
    /// The lowest port that a user without privilege may bind (ip(7)).
    package static var firstUnprivilegedPort: UInt16 {
        Files.text("/proc/sys/net/ipv4/ip_unprivileged_port_start").flatMap { UInt16($0) } ?? 1024
    }

    /// Raises the limit of open descriptors to the hard limit. Returns the new limit.
    @discardableResult
    package static func raiseDescriptors() -> Int { Int(max(0, platform_raise_descriptor_limit())) }
}
