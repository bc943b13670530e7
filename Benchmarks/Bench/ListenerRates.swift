// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import TestSupport
import Timing
import VDEPlug

/// How fast frames go from one client to another that has come in by the same listener: a system call each to send, as
/// QEMU does it.
enum ListenerRates {
    private static let length = 1514

    enum Listener: String, CaseIterable {
        case vde = "vde"
        case stream = "stream"
        /// Takes datagrams from any sender, as QEMU does.
        case dgram = "dgram, one socket each"
        /// Takes them from the listener alone, as vfkit and krunkit do.
        case connected = "dgram, through the listener's"
    }

    private final class Client {
        let socket: Descriptor
        let destination: String?
        let isStream: Bool
        private var plug: Plug?

        init(_ listener: Listener, _ name: String, _ folder: TemporaryFolder, at path: String) throws {
            isStream = listener == .stream
            switch listener {
            case .vde:
                let plug = try Plug.join(
                    path: path, port: 0, options: PlugOptions(description: "measure"),
                    deadline: BootClock.now + .seconds(5))
                socket = try plug.data.duplicate()
                // Its end would be the port's.
                self.plug = consume plug
                destination = nil
            case .stream:
                let connection = try Socket.unixStream()
                try connection.connect(to: UnixPath(path))
                connection.setBlocking()
                socket = try connection.duplicate()
                destination = nil
            case .dgram, .connected:
                let socket = try Socket.unixDatagram()
                try socket.bind(to: UnixPath(folder.file(name)))
                socket.setBuffers(send: 1 << 20, receive: 4 << 20)
                if listener == .connected { try socket.connect(to: UnixPath(path)) }
                self.socket = try socket.duplicate()
                destination = listener == .dgram ? path : nil
            }
        }

        func send(_ frame: [UInt8]) throws {
            if isStream { return try socket.write([0, 0, UInt8(frame.count >> 8), UInt8(frame.count & 255)] + frame) }
            while true {
                do throws(SystemError) {
                    if let destination {
                        try socket.send(frame, toUnix: UnixPath(destination))
                    } else {
                        _ = try socket.send(frame)
                    }
                    return
                } catch {
                    guard error.code == Errno.again || error.code == Errno.noBuffers else { throw error }
                    _ = socket.wait(for: .writable, until: BootClock.now + .milliseconds(1))
                }
            }
        }
    }

    /// The group "listeners".
    static func measure(_ report: Report, _ scale: Scale, isQuick: Bool) throws {
        report.progress("from client to client, by each listener")
        let folder = try TemporaryFolder(), host = try Namespace("listeners")
        let vde = folder.file("vde"), stream = folder.file("stream"), dgram = folder.file("dgram")
        let daemon = try VMNetDaemon(
            in: host, ["--switch", vde, "--stream", stream, "--dgram", dgram, "--uplink", "none"], folder: folder,
            level: "warning")
        scale.rounds {
            for listener in $0 ? Listener.allCases.reversed() : Listener.allCases {
                let what = "1514 B from client to client, a call each, by \(listener.rawValue)"
                report.attempt(what, Report.ours) {
                    let result = try run(
                        listener, at: listener == .vde ? vde : listener == .stream ? stream : dgram,
                        frames: isQuick ? 30_000 : 200_000)
                    report.add(what, "1000 frames/s", Report.ours, result.rate / 1000)
                    report.add(what, "% delivered", Report.ours, result.delivered * 100)
                }
            }
        }
        _ = try daemon.stop()
    }

    /// Frames a second, and which part of them has arrived.
    private static func run(
        _ listener: Listener, at path: String, frames: Int
    ) throws -> (rate: Double, delivered: Double) {
        let folder = try TemporaryFolder()
        let sender = try Client(listener, "sender", folder, at: path),
            receiver = try Client(listener, "receiver", folder, at: path)
        func frame(to last: UInt8, from source: UInt8) -> [UInt8] {
            [2, 0, 0, 0, 0, last, 2, 0, 0, 0, 0, source, 0x88, 0xb6] + [UInt8](repeating: 0, count: length - 14)
        }
        try receiver.send(frame(to: 1, from: 2))
        try sender.send(frame(to: 2, from: 1))
        BootClock.sleep(.milliseconds(100))
        let count = Mutex(0), raw = try receiver.socket.duplicate().release(), isStream = receiver.isStream
        try WorkerThread.start(named: "reader") {
            let socket = Descriptor(adopting: raw)
            var bytes = 0
            while true {
                guard socket.wait(for: .readable, until: BootClock.now + .seconds(1)).contains(.readable)
                else { return }
                var frames = 0
                while let part = try? socket.receive(limit: isStream ? 65_536 : 2048), !part.isEmpty {
                    bytes += part.count
                    frames += 1
                    if isStream { break }
                }
                if isStream {
                    let whole = bytes / (length + 4)
                    count.withLock { $0 = whole }
                } else {
                    count.withLock { $0 += frames }
                }
            }
        }
        let before = count.withLock { $0 }, start = BootClock.now
        let unicast = frame(to: 2, from: 1)
        for _ in 0..<frames { try sender.send(unicast) }
        var last = -1
        while count.withLock({ $0 }) != last {
            last = count.withLock { $0 }
            BootClock.sleep(.milliseconds(20))
        }
        let seconds = Double((BootClock.now - start).nanoseconds) / 1e9 - 0.02
        return (Double(last - before) / seconds, Double(last - before) / Double(frames))
    }
}
