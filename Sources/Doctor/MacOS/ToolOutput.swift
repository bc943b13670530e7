// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// What a program of macOS prints. No check of macOS ran on a Mac: tests give the checks recorded outputs.
enum ToolOutput {
    /// Standard output and standard error of a program; nil if it cannot be started.
    static func of(_ words: String...) -> String? {
        guard let result = try? ChildProcess.run(words, timeout: .seconds(10)) else { return nil }
        return result.output + result.error
    }

    /// The major version of macOS in what sw_vers(1) prints; 0 if it is not there.
    static func majorVersion(_ text: String) -> Int { Int(text.prefix { $0.isNumber }) ?? 0 }
}
