// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// Moves the process to the background after a successful start, as a classic Unix daemon does.
package struct Daemonizer: ~Copyable {
    private let report: Descriptor

    /// Forks, and returns in the child. The parent waits for `succeed` and exits with 0, or exits with the child's
    /// status if the child ends before. Must be called before any thread is started.
    package init() throws(SystemError) {
        report = try Descriptor(checking: platform_daemonize(), "go into the background")
    }

    /// Lets the parent exit with status 0, and detaches from the terminal and the current directory.
    package consuming func succeed() {
        platform_detach_standard_streams()
        try? Files.enterRoot()
        try? report.write([0])
    }
}
