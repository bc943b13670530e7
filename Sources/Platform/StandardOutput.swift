// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Timing

/// Writes text to the standard streams, unbuffered.
package enum StandardOutput {
    /// Opens /dev/null for each standard stream that is closed, before another file gets its number. To be called
    /// first.
    package static func ensureOpen() { platform_open_standard_streams() }

    /// Bytes that a pipe takes as a whole, or not at all (pipe(7), PIPE_BUF).
    private static let pipePiece = 4096

    /// Writes all of a text to standard output, and waits while a pipe is full.
    package static func write(_ text: String) throws(SystemError) {
        let stream = Descriptor(adopting: 1)
        do throws(SystemError) {
            try write(Array(text.utf8), waitingFor: stream)
        } catch {
            _ = stream.release()
            throw error
        }
        _ = stream.release()
    }

    private static func write(_ bytes: [UInt8], waitingFor stream: borrowing Descriptor) throws(SystemError) {
        var written = 0
        while written < bytes.count {
            let next = min(written + pipePiece, bytes.count)
            do throws(SystemError) {
                try stream.write(Array(bytes[written..<next]))
                written = next
            } catch {
                // Another process that has the same pipe may have made it non-blocking.
                guard error.code == Errno.again else { throw error }
                _ = stream.wait(for: .writable, until: .distantFuture)
            }
        }
    }

    /// Writes to standard output what nothing depends on: an error, such as a full disk, loses it.
    package static func writeIfPossible(_ text: String) { write(text, to: 1) }

    /// Writes to standard error. An error loses the text.
    package static func writeError(_ text: String) { write(text, to: 2) }

    /// Writes to standard error without waiting. Returns false if it takes nothing now: a pipe that is full, or a
    /// terminal that was stopped. Of a long text, a part may be written.
    package static func writeErrorAtOnce(_ text: String) -> Bool {
        let stream = Descriptor(adopting: 2)
        let bytes = Array(text.utf8)
        var written = 0
        while written < bytes.count, !stream.wait(for: .writable, until: .distantPast).isEmpty {
            let next = min(written + pipePiece, bytes.count)
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
