// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// The other side of a VDE handshake, which behaves as a test chooses.
package final class FakeSwitch {
    package enum Behaviour: Sendable {
        /// Answers as a switch does, and echoes the first frame back.
        case proper
        /// Answers in pieces of this many bytes.
        case pieces(Int)
        /// Takes the request and never answers.
        case silent
        /// Takes the request and closes.
        case refusing
        /// Answers with these bytes.
        case answering([UInt8])
        /// Sends this much of a good answer, then closes.
        case halfway(Int)
    }

    package let path: String
    private let listener: Descriptor
    private let received = Mutex<[UInt8]>([])

    /// The request that came, as bytes.
    package var request: [UInt8] { received.withLock { $0 } }

    package init(in folder: TemporaryFolder, _ behaviour: Behaviour, name: String = "fake") throws {
        path = folder.file(name)
        try Files.makeDirectory(path)
        let listener = try Socket.unixStream()
        try listener.bind(to: UnixPath(path + "/ctl"))
        try listener.listen()
        let raw = try listener.duplicate().release()
        self.listener = listener
        let received = received, path = path
        try WorkerThread.start(named: "fake switch") {
            let listener = Descriptor(adopting: raw)
            let deadline = BootClock.now + .seconds(20)
            while listener.wait(for: .readable, until: deadline).contains(.readable) {
                guard let client = try? listener.accept() else { continue }
                try? FakeSwitch.serve(client, behaviour, path, received)
            }
        }
    }

    private static func serve(
        _ client: borrowing Descriptor, _ behaviour: Behaviour, _ path: String, _ received: Mutex<[UInt8]>
    ) throws {
        let deadline = BootClock.now + .seconds(5)
        _ = client.wait(for: .readable, until: deadline)
        let request = try client.receive(limit: 256)
        received.withLock { $0 = request }
        let data = try Socket.unixDatagram()
        let own = path + "/001.5"
        try? Files.remove(own)
        try data.bind(to: UnixPath(own))
        if let parsed = try? VDERequest(parsing: request.rawSpan) { try data.connect(to: UnixPath(parsed.path)) }
        let answer = UnixAddressLayout.native.encode(path: Array(own.utf8))!
        switch behaviour {
        case .proper:
            _ = try client.send(answer)
            _ = data.wait(for: .readable, until: deadline)
            _ = try data.send(data.receive(limit: 2000))
            _ = client.wait(for: .readable, until: deadline)
        case .pieces(let size):
            for start in stride(from: 0, to: answer.count, by: size) {
                _ = try client.send(Array(answer[start..<min(answer.count, start + size)]))
                BootClock.sleep(.milliseconds(2))
            }
            _ = client.wait(for: .readable, until: deadline)
        case .silent:
            _ = client.wait(for: .readable, until: deadline)
        case .refusing:
            break
        case .answering(let bytes):
            _ = try client.send(bytes)
            _ = client.wait(for: .readable, until: deadline)
        case .halfway(let count):
            _ = try client.send(Array(answer.prefix(count)))
        }
    }
}
