// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform

/// Standard output of a command, whose text is what the user or a program needs of it.
enum CommandOutput {
    /// Writes text, and waits while a pipe is full.
    /// - Throws: `ioError` if it cannot be written, for instance on a full disk.
    static func write(_ text: String) throws(ExitError) {
        do throws(SystemError) {
            try StandardOutput.write(text)
        } catch {
            let remedy = error.isFullDisk ? "make room, or write elsewhere" : "write elsewhere"
            throw ExitError(.ioError, "cannot write to standard output: \(error.reason); \(remedy)")
        }
    }

    /// The text of an action that comes to its end whether the text can be written or not.
    struct Report {
        private var failure: ExitError?

        /// Writes text, unless earlier text could not be written.
        mutating func write(_ text: String) {
            guard failure == nil else { return }
            do throws(ExitError) {
                try CommandOutput.write(text)
            } catch {
                failure = error
            }
        }

        /// - Throws: `ioError` if some text could not be written.
        func finish() throws(ExitError) {
            if let failure { throw failure }
        }
    }
}
