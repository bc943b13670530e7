// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// The memory of this process.
package enum ProcessMemory {
    /// Returns free memory of the C library's allocator to the system (malloc_trim(3)). It may take milliseconds.
    package static func trim() { platform_memory_trim() }
}
