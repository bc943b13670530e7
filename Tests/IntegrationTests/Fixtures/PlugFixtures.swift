// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import VDEPlug

/// A port of a switch, held by the test itself, which can send what no guest would.
final class PlugPort {
    private let plug: Plug

    init(path: String, description: String = "a test") throws {
        plug = try Plug.join(
            path: path, port: 0, options: PlugOptions(description: description),
            deadline: BootClock.now + .seconds(2))
        // A flood must not be held up by small buffers of the test.
        plug.data.setBuffers(send: 4 << 20, receive: 4 << 20)
    }

    /// Sends, waiting for room where the switch is behind.
    func send(_ frame: [UInt8]) {
        let deadline = BootClock.now + .seconds(5)
        while (try? plug.data.send(frame)) == nil, BootClock.now < deadline {
            _ = plug.data.wait(for: .writable, until: deadline)
        }
    }

    func receive(seconds: Double = 5, _ accept: ([UInt8]) -> Bool) -> [UInt8]? {
        firstFrame(from: plug.data, seconds, accept)
    }
}

/// The second end of a cable, held by the test itself.
final class CablePort {
    private let cable: PointToPoint

    init(path: String) throws { cable = try PointToPoint(path: path, group: nil) }

    func send(_ frame: [UInt8]) { _ = try? cable.socket.send(frame) }

    func receive(seconds: Double = 5, _ accept: ([UInt8]) -> Bool) -> [UInt8]? {
        firstFrame(from: cable.socket, seconds, accept)
    }
}

/// The first frame within `seconds` that `accept` takes.
private func firstFrame(from socket: borrowing Descriptor, _ seconds: Double, _ accept: ([UInt8]) -> Bool) -> [UInt8]? {
    let deadline = BootClock.now + .fractionalSeconds(seconds)
    while socket.wait(for: .readable, until: deadline).contains(.readable) {
        if let frame = try? socket.receive(limit: 70_000), accept(frame) { return frame }
    }
    return nil
}
