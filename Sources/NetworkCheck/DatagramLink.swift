// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// A link over a connected datagram socket, one frame per datagram.
package final class DatagramLink: GuestLink {
    private let socket: Descriptor

    package init(_ socket: consuming Descriptor) { self.socket = socket }

    package func send(_ frame: [UInt8]) {
        // As on a cable, a frame is lost if the receiver is full or gone.
        _ = try? socket.send(frame)
    }

    package func receive(until deadline: Instant) -> [UInt8]? {
        while socket.wait(for: .readable, until: deadline).contains(.readable) {
            guard let frame = try? socket.receive(limit: 65_553) else { return nil }
            if frame.count >= EthernetHeader.length { return frame }
        }
        return nil
    }
}
