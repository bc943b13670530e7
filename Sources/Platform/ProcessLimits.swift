// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// Resource limits of this process (setrlimit(2)).
package enum ProcessLimits {
    /// Raises the limit of open descriptors to the hard limit. Returns the new limit.
    @discardableResult
    package static func raiseDescriptors() -> Int { Int(max(0, platform_raise_descriptor_limit())) }
}
