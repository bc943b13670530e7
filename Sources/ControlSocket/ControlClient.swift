// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import EventLoop
import Platform
import Timing

/// One connection to the control socket. Main thread only.
package final class ControlClient {
    /// Bytes of queued output from which on events are discarded.
    private static let eventLimit = 262_144

    let socket: Descriptor
    /// The user behind the connection, when it was made.
    package let user: UInt32
    /// The process behind the connection, when it was made.
    package let process: Int32
    /// What the client may do.
    package let rights: ControlRights
    let admission: ClientQuota.Admission
    /// When the client is disconnected if nothing happens before.
    var deadline: Instant
    /// Received bytes that are no whole line yet.
    var input: [UInt8] = []
    /// Bytes of `input` that contain no line end.
    var searched = 0
    var output: [UInt8] = []
    /// Bytes of `output` that were sent.
    var sent = 0
    var closesAfterSending = false
    var isWatched = false
    /// The client has ended; it may still be referred to.
    package internal(set) var isClosed = false
    /// The connection stays open until this process ends, so that the client can wait for that.
    package var isAwaitingEnd = false
    /// Called once when the reply to the request that has set it was sent. From then on the connection carries no more
    /// requests: what is called writes to the socket, until the server closes the connection.
    package var takeover: ((ControlClient) -> Void)?
    /// Called once when the connection ends.
    package var onClose: () -> Void = {}
    /// The kinds of events that the client has subscribed to; nil for none.
    package var subscription: Set<String>?
    /// Events that were discarded because the client does not read, since the last report.
    private var lostEvents = 0

    init(
        _ socket: consuming Descriptor, user: UInt32, process: Int32, rights: ControlRights,
        _ admission: ClientQuota.Admission, deadline: Instant
    ) {
        self.socket = socket
        self.user = user
        self.process = process
        self.rights = rights
        self.admission = admission
        self.deadline = deadline
    }

    /// Another descriptor of the connection, which stays open when the server closes its own.
    package func duplicateSocket() throws(SystemError) -> Descriptor { try socket.duplicate() }

    /// Whether the client has closed its connection, without waiting for replies. macOS does not distinguish this from
    /// a client that only sends no more.
    var hasGone: Bool {
        !OperatingSystem.isMacOS && socket.wait(for: [], until: .distantPast).contains(.hangup)
    }

    /// Whether output waits for the client to read.
    var isBlocked: Bool { sent < output.count }

    /// Removes the first whole line, without its end; nil if there is none.
    func nextLine() -> [UInt8]? {
        guard let end = input[searched...].firstIndex(of: UInt8(ascii: "\n")) else {
            searched = input.count
            return nil
        }
        var line = Array(input[..<end])
        input.removeFirst(end + 1)
        searched = 0
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return line
    }

    /// Queues an event, or counts it as lost if the client does not read.
    func queue(event line: String) {
        guard output.count - sent < ControlClient.eventLimit else {
            lostEvents += 1
            return
        }
        if lostEvents > 0 {
            output += Array(
                JSON.object([("event", .string("lost")), ("data", .object([("count", .integer(lostEvents))]))]).text
                    .utf8
            )
            output.append(UInt8(ascii: "\n"))
            lostEvents = 0
        }
        output += Array(line.utf8)
    }

    /// Sends what the socket takes. Returns false if the connection has ended.
    func flush() -> Bool {
        while isBlocked {
            do throws(SystemError) {
                sent += try socket.send(Array(output[sent...].prefix(65_536)))
            } catch {
                if error.code == Errno.again { break }
                return false
            }
        }
        if !isBlocked {
            output.removeAll(keepingCapacity: output.count <= 65_536)
            sent = 0
        } else if sent > 1 << 20 {
            output.removeFirst(sent)
            sent = 0
        }
        return true
    }
}
