// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform
import Timing

/// Where `capture` writes: standard output, or a file.
final class CaptureOutput {
    /// Bytes that a pipe takes without blocking once it reports room (PIPE_BUF).
    private static let pipePiece = 4096

    private let descriptor: Descriptor
    private let name: String
    private let isRegular: Bool
    /// Bytes of whole blocks in the file.
    private var written = 0

    /// Refuses standard output if it is a terminal.
    static func check(_ path: String?) throws(ExitError) {
        guard path ?? "-" == "-", StandardOutput.isTerminal else { return }
        throw ExitError(
            .usage,
            """
            a capture is not text, and standard output is a terminal; write a file by -w FILE, or see the frames by: \
            vde_vmnet capture -w - | tshark -r -
            """)
    }

    /// - Parameter path: a file, which is created or emptied; nil or `-` for standard output.
    /// - Throws: if the file cannot be written.
    init(_ path: String?) throws(ExitError) {
        if let path, path != "-" {
            name = path
            do throws(SystemError) {
                descriptor = try PrivateOutput.open(path)
            } catch {
                let isDenied = [Errno.accessDenied, Errno.notPermitted].contains(error.code)
                throw ExitError(
                    isDenied ? .noPermission : .cannotCreate,
                    "cannot write the capture: \(error); its directory must exist and be writable, or give another -w")
            }
            descriptor.setBlocking()
        } else {
            name = "standard output"
            do throws(SystemError) {
                descriptor = try .standardOutput()
            } catch {
                throw ExitError(.ioError, "cannot write the capture: \(error)")
            }
        }
        isRegular = (try? descriptor.status().kind) == .regular
    }

    /// The descriptor, which stays this object's.
    var raw: Int32 { descriptor.raw }

    /// How writing has ended.
    enum Outcome {
        case written
        /// The reader of a pipe has gone.
        case noReader
        /// The reader of a pipe does not read, and `isImpatient` has returned true.
        case stuck
    }

    /// Writes whole blocks.
    /// - Parameter isImpatient: called while a pipe is full; true gives up.
    func write(_ bytes: [UInt8], while isImpatient: () -> Bool) throws(ExitError) -> Outcome {
        var rest = bytes[...]
        do throws(SystemError) {
            if isRegular {
                try descriptor.write(bytes)
                written += bytes.count
                return .written
            }
            while !rest.isEmpty {
                let ready = descriptor.wait(for: .writable, until: BootClock.now + .milliseconds(100))
                if ready.contains(.hangup) { return .noReader }
                guard ready.contains(.writable) else {
                    if isImpatient() { return .stuck }
                    continue
                }
                let piece = Array(rest.prefix(CaptureOutput.pipePiece))
                try descriptor.write(piece)
                rest = rest.dropFirst(piece.count)
            }
            return .written
        } catch {
            if error.code == Errno.brokenPipe { return .noReader }
            // The file ends after a block.
            if isRegular { try? descriptor.truncate(to: written) }
            let remedy = error.isFullDisk ? "make room, or write elsewhere" : "write elsewhere by -w"
            throw ExitError(
                .ioError, "cannot write the capture to \(PrintableText.line(name)): \(error.reason); \(remedy)")
        }
    }
}
