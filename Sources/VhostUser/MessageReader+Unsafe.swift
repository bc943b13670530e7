// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform
import VirtioRing

/// Puts messages together that arrive in pieces, with their descriptors.
package struct MessageReader: ~Copyable {
    /// What came of a call of `read`.
    package enum Outcome: Equatable, Sendable {
        /// A whole message; its descriptors are in `descriptors`.
        case message(VhostMessage)
        /// Nothing more has arrived.
        case nothing
        /// The front end has closed the connection.
        case end
    }

    /// Of the message that was read last.
    package var descriptors = DescriptorList()
    private var header: [UInt8] = []
    private var message: VhostMessage?
    private var payloadLength = 0

    /// Expects a header.
    package init() {}

    /// Reads the next message from a socket, without blocking.
    /// - Throws: if the bytes are no message, or more descriptors came than a message has.
    package mutating func read(from socket: borrowing Descriptor) throws(VhostFault) -> Outcome {
        while true {
            if let complete = message, complete.payload.count == payloadLength {
                message = nil
                header = []
                return .message(complete)
            }
            let missing =
                message.map { payloadLength - $0.payload.count } ?? VhostMessage.headerLength - header.count
            if message == nil && header.isEmpty { descriptors.removeAll() }
            guard let bytes = try receive(missing, from: socket) else { return .nothing }
            if bytes.isEmpty { return .end }
            if message != nil {
                message!.payload += bytes
                continue
            }
            header += bytes
            guard header.count == VhostMessage.headerLength else { continue }
            let parsed = try VhostMessage.parse(header: header)
            message = parsed.message
            payloadLength = parsed.length
        }
    }

    /// Receives up to `length` bytes; nil if there are none for now, empty at the end.
    private mutating func receive(_ length: Int, from socket: borrowing Descriptor) throws(VhostFault) -> [UInt8]? {
        var received = [Int32](repeating: -1, count: PLATFORM_VHOST_DESCRIPTORS)
        var count: Int32 = 0
        var result = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: length) { buffer, used in
            unsafe result = platform_vhost_receive(socket.raw, buffer.baseAddress, length, &received, &count)
            used = max(0, result)
        }
        for raw in received.prefix(Int(count)) { descriptors.append(adopting: raw) }
        guard descriptors.count <= PLATFORM_VHOST_DESCRIPTORS else {
            throw VhostFault("it sent more descriptors with a message than a message has")
        }
        if result >= 0 { return bytes }
        switch Int32(-result) {
        case Errno.again, Errno.interrupted: return nil
        case Errno.protocolError: throw VhostFault("it sent more descriptors with a message than a message has")
        default: return []
        }
    }
}
