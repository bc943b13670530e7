// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// What a process may use.
package enum ProcessLimits {
    /// Lets this process open as many files as it may without asking anybody. Returns how many.
    @discardableResult
    package static func raiseDescriptors() -> Int { Int(max(0, platform_raise_descriptor_limit())) }
}

/// A process that goes into the background once it has started well.
package struct BackgroundStart: ~Copyable {
    private let report: Descriptor

    /// Forks, and returns in the child. The parent waits for `succeed`, or ends with the status with which the child
    /// ends before. To be called before any thread is started.
    package init() throws(SystemError) {
        report = try Descriptor(checking: platform_daemonize(), "go into the background")
    }

    /// Lets the parent end with status 0, and leaves its terminal and directory.
    package consuming func succeed() {
        platform_detach_standard_streams()
        try? Files.enterRoot()
        try? report.write([0])
    }
}
