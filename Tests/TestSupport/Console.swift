// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// A conversation with a switch's console, or another one on a socket.
package final class Console {
    private let socket: Descriptor
    private let prompt: String
    /// The greeting of the console.
    package private(set) var greeting = ""

    package init(_ path: String, prompt: String = "vde$ ") throws {
        self.prompt = prompt
        socket = try Socket.unixStream()
        try eventually("a console at \(path)") { (try? socket.connect(to: UnixPath(path))) != nil }
        greeting = try read(until: prompt)
    }

    private func read(until end: String?, seconds: Double = 5) throws -> String {
        var bytes: [UInt8] = []
        let deadline = BootClock.now + .fractionalSeconds(seconds)
        while true {
            let text = String(decoding: bytes, as: UTF8.self)
            if let end, text.hasSuffix(end) { return text }
            guard socket.wait(for: .readable, until: deadline).contains(.readable) else {
                throw TimedOut("the console did not answer: \(text)")
            }
            let more = try socket.receive(limit: 65_536)
            if more.isEmpty {
                if end == nil { return text }
                throw TimedOut("the console closed: \(text)")
            }
            bytes += more
        }
    }

    /// Sends a line and returns the answer up to the prompt.
    package func ask(_ line: String, lineEnd: String = "\n") throws -> String {
        _ = try socket.send(Array((line + lineEnd).utf8))
        return try read(until: prompt)
    }

    /// Sends a line and returns all that comes until the console closes.
    package func end(_ line: String) throws -> String {
        _ = try socket.send(Array((line + "\n").utf8))
        return try read(until: nil)
    }

    package func send(_ bytes: [UInt8]) throws {
        var sent = 0
        let deadline = BootClock.now + .seconds(5)
        while sent < bytes.count {
            guard socket.wait(for: .writable, until: deadline).contains(.writable) else {
                throw TimedOut("the console takes no more")
            }
            sent += try socket.send(Array(bytes[sent...].prefix(65_536)))
        }
    }
}
