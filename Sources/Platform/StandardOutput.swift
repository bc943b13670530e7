// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Timing

/// Writes text to the standard streams, unbuffered. Errors, such as a closed pipe, are ignored.
package enum StandardOutput {
    /// Opens /dev/null for each standard stream that is closed, before another file gets its number. To be called
    /// first.
    package static func ensureOpen() { platform_open_standard_streams() }

    /// Writes to standard output.
    package static func write(_ text: String) { write(text, to: 1) }

    /// Writes to standard error.
    package static func writeError(_ text: String) { write(text, to: 2) }

    /// Writes to standard error without waiting. Returns false if it takes nothing now: a pipe that is full, or a
    /// terminal that was stopped. Of a long text, a part may be written.
    package static func writeErrorAtOnce(_ text: String) -> Bool {
        let stream = Descriptor(adopting: 2)
        // A pipe that is writable takes as many bytes without waiting (pipe(7), PIPE_BUF).
        let part = 4096
        let bytes = Array(text.utf8)
        var written = 0
        while written < bytes.count, !stream.wait(for: .writable, until: .distantPast).isEmpty {
            let next = min(written + part, bytes.count)
            try? stream.write(Array(bytes[written..<next]))
            written = next
        }
        _ = stream.release()
        return written > 0
    }

    /// The status of standard error; nil if it cannot be read.
    package static var errorStatus: FileStatus? {
        let stream = Descriptor(adopting: 2)
        let status = try? stream.status()
        _ = stream.release()
        return status
    }

    /// Whether standard output is a terminal.
    package static var isTerminal: Bool { isatty(1) == 1 }

    /// The size of the terminal that standard output is; nil if it is none, or has no size.
    package static var terminalSize: (rows: Int, columns: Int)? {
        let size = Int(platform_terminal_size(1))
        return size < 0 ? nil : (size >> 16, size & 0xffff)
    }

    /// Whether standard output has a reader; true for files and terminals.
    package static var isOpen: Bool {
        let stream = Descriptor(adopting: 1)
        let ready = stream.wait(for: [], until: .distantPast)
        _ = stream.release()
        return !ready.contains(.hangup)
    }

    private static func write(_ text: String, to number: Int32) {
        let stream = Descriptor(adopting: number)
        try? stream.write(Array(text.utf8))
        _ = stream.release()
    }
}

extension Descriptor {
    /// A duplicate of standard input.
    package static func standardInput() throws(SystemError) -> Descriptor {
        Descriptor(adopting: try SystemError.checkErrno(platform_fcntl(0, F_DUPFD_CLOEXEC, 3), "dup"))
    }

    /// A duplicate of standard output.
    package static func standardOutput() throws(SystemError) -> Descriptor {
        Descriptor(adopting: try SystemError.checkErrno(platform_fcntl(1, F_DUPFD_CLOEXEC, 3), "dup"))
    }

    /// Whether the descriptor is a terminal (isatty(3)).
    package var isTerminal: Bool { isatty(raw) == 1 }
}
