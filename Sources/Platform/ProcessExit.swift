// SPDX-License-Identifier: Apache-2.0

/// Ends this process.
package enum ProcessExit {
    /// Ends the process with `status`, after the functions that were registered with atexit(3).
    package static func exit(_ status: Int32) -> Never { systemExit(status) }
}
