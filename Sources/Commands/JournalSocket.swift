// SPDX-License-Identifier: Apache-2.0
import Platform

/// The socket of systemd-journald, for messages with fields (systemd.journal-fields(7), the native protocol). Messages
/// that it does not take go to standard error, which it reads as well.
final class JournalSocket: Sendable {
    private static let path = "/run/systemd/journal/socket"

    private let socket: Descriptor

    /// Nil unless journald reads standard error: JOURNAL_STREAM has its device and inode (systemd.exec(5)).
    init?() {
        guard let stream = CurrentProcess.environment("JOURNAL_STREAM"), let status = StandardOutput.errorStatus,
            stream == "\(status.device):\(status.inode)"
        else { return nil }
        do throws(SystemError) {
            socket = try Socket.unixDatagram()
            try socket.connect(to: UnixPath(JournalSocket.path))
        } catch {
            return nil
        }
    }

    /// Sends a message. Returns false if journald does not take it.
    func send(_ message: String, priority: Int32) -> Bool {
        (try? socket.send(JournalSocket.datagram(message, priority: priority))) != nil
    }

    /// A field on each line. A value with a line end has its length, in eight bytes, little-endian, in front.
    static func datagram(_ message: String, priority: Int32) -> [UInt8] {
        let fields = "PRIORITY=\(priority)\nSYSLOG_IDENTIFIER=vde_vmnet\nSYSLOG_FACILITY=3\n"
        let bytes = Array(message.utf8)
        let length = (0..<8).map { UInt8(truncatingIfNeeded: bytes.count >> (8 * $0)) }
        return Array(fields.utf8) + Array("MESSAGE\n".utf8) + length + bytes + [UInt8(ascii: "\n")]
    }
}
