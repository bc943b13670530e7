// SPDX-License-Identifier: Apache-2.0
import Capture
import Platform
import Switching
import Timing

/// Writes one capture, on a separate thread: takes frames from the tap, and writes blocks to a socket or a file. A
/// file may block this thread, and nothing else. While a socket is full, frames wait in the tap, and then are lost.
package final class CaptureWriter: Sendable {
    /// Where the blocks go.
    package enum Target {
        /// A socket, whose peer ends the capture by closing its sending side.
        case socket
        case file
    }

    /// How a capture has ended.
    package enum End: Sendable {
        /// It is complete: the peer or this process has ended it, or it has all frames that it was to have.
        case complete
        /// The peer has gone, or does not read.
        case abandoned
        /// The file cannot be written.
        case failed(SystemError)
    }

    /// What a port is called in the file.
    package struct Interface: Equatable, Sendable {
        /// `port 3`, or `uplink`.
        package var name: String
        /// The client, and its addresses and names.
        package var description: String
    }

    /// Bytes of blocks that are written at once.
    private static let pieceSize = 65_536
    /// How long a peer may take for the rest, once the capture is to end.
    private static let closingTimeout = TimeAmount.seconds(2)

    private let tap: CaptureTap
    private let descriptor: Descriptor
    private let target: Target
    private let limit: Int?
    private let isEnding = Mutex(false)
    /// What a port is called that has no name in `interfaces` yet.
    private let fallback: @Sendable (PortNumber) -> Interface
    /// Ports that are described before their first frame: programs refuse a file without interfaces.
    private let described: [PortNumber]
    private let interfaces = Mutex<[PortNumber: Interface]>([:])
    /// Set when the thread has ended.
    let end: Promise<End>

    /// - Parameters:
    ///   - descriptor: of a non-blocking socket, or of a file.
    ///   - limit: frames after which the capture ends; nil for none.
    ///   - described: ports that are described before their first frame.
    ///   - fallback: what a port is called before `setInterfaces` has a name for it. Called on the thread.
    init(
        _ tap: CaptureTap, to descriptor: consuming Descriptor, _ target: Target, limit: Int?,
        describing described: [PortNumber], fallback: @escaping @Sendable (PortNumber) -> Interface
    ) throws(SystemError) {
        self.tap = tap
        self.descriptor = descriptor
        self.target = target
        self.limit = limit
        self.described = described
        self.fallback = fallback
        end = try Promise()
    }

    /// Starts the thread.
    func start() throws(SystemError) {
        try WorkerThread.start(named: "capture") { [self] in end.fulfill(run()) }
    }

    /// Ends the capture after the frames that were recorded. For any thread.
    func finish() {
        isEnding.withLock { $0 = true }
        tap.wakeup.signal()
    }

    /// Sets what the ports are called from now on. For any thread.
    func setInterfaces(_ names: [PortNumber: Interface]) { interfaces.withLock { $0 = names } }

    // MARK: The thread

    /// What the file has so far.
    private struct Progress {
        var writer = PcapngWriter()
        /// The number of each port's interface in the file, and its name there.
        var interfaces: [PortNumber: (number: UInt32, name: String)] = [:]
        var count: UInt32 = 0
        var frames = 0
        var isPeerDone = false
        /// Bytes of whole blocks in the file.
        var written = 0
    }

    private func run() -> End {
        var progress = Progress()
        progress.writer.sectionHeader(application: "vde_vmnet")
        let names = interfaces.withLock { $0 }
        for port in described { _ = number(of: port, names, &progress) }
        if described.isEmpty {
            progress.writer.interface(
                name: "none", description: "no port at the start of the capture", snapLength: tap.snapLength)
            progress.count += 1
        }
        do throws(SystemError) {
            let poller = try Poller()
            try poller.add(tap.wakeup.descriptor.raw, token: 0, for: .readable)
            if target == .socket { try poller.add(descriptor.raw, token: 1, for: .readable) }
            while true {
                // Before frames are taken, so that the last ones are taken after that.
                let isLast = progress.isPeerDone || isEnding.withLock { $0 }
                let hasMore = collect(&progress)
                let isComplete = progress.frames == limit || (isLast && !hasMore)
                if isComplete { addStatistics(&progress) }
                if try !write(&progress) { return .abandoned }
                if isComplete { return .complete }
                if !hasMore, tap.prepareToWait(), !isEnding.withLock({ $0 }) { wait(poller, &progress) }
            }
        } catch {
            return .failed(error)
        }
    }

    private func wait(_ poller: borrowing Poller, _ progress: inout Progress) {
        for event in 0..<poller.wait(until: .distantFuture, now: BootClock.now) where poller.event(event).token == 1 {
            readPeer(&progress)
        }
    }

    /// A peer sends nothing: it closes its side to end the capture.
    private func readPeer(_ progress: inout Progress) {
        do throws(SystemError) {
            if try descriptor.receive(limit: 4096).isEmpty { progress.isPeerDone = true }
        } catch {
            if error.code != Errno.again { progress.isPeerDone = true }
        }
    }

    /// Makes blocks of the next frames. Returns whether there may be more.
    private func collect(_ progress: inout Progress) -> Bool {
        let names = interfaces.withLock { $0 }
        while progress.writer.bytes.count < CaptureWriter.pieceSize {
            if progress.frames == limit { return false }
            let isFound = tap.removeFirst { frame, bytes in
                let interface = number(of: frame.port, names, &progress)
                progress.writer.packet(
                    bytes, interface: interface, time: frame.time, length: Int(frame.length),
                    direction: frame.direction, comment: frame.reason.map { "dropped: \($0)" })
            }
            guard isFound else { return false }
            progress.frames += 1
        }
        return true
    }

    /// The number of a port's interface, which is described before its first frame. A number of a port that has come to
    /// another client is another interface.
    private func number(
        of port: PortNumber, _ names: [PortNumber: Interface], _ progress: inout Progress
    ) -> UInt32 {
        let known = progress.interfaces[port]
        if let known, names[port].map({ $0.name == known.name }) ?? true { return known.number }
        let interface = names[port] ?? fallback(port)
        progress.writer.interface(
            name: interface.name, description: interface.description, snapLength: tap.snapLength)
        progress.interfaces[port] = (progress.count, interface.name)
        progress.count += 1
        return progress.count - 1
    }

    private func addStatistics(_ progress: inout Progress) {
        let time = WallClock.nanoseconds
        let names = interfaces.withLock { $0 }
        // Ports of which every frame was lost have no interface yet.
        for port in names.keys.sorted() where tap.counters(of: port).selected > 0 {
            _ = number(of: port, names, &progress)
        }
        for (port, interface) in progress.interfaces.sorted(by: { $0.value.number < $1.value.number }) {
            let counters = tap.counters(of: port)
            progress.writer.statistics(
                CaptureStatistics(interface: interface.number, received: counters.selected, lost: counters.lost),
                time: time)
        }
        if progress.interfaces.isEmpty {
            progress.writer.statistics(CaptureStatistics(interface: 0, received: 0, lost: 0), time: time)
        }
    }

    /// Writes the blocks. Returns false if the peer has gone.
    private func write(_ progress: inout Progress) throws(SystemError) -> Bool {
        defer { progress.writer.removeAll() }
        guard !progress.writer.bytes.isEmpty else { return true }
        guard target == .socket else {
            do throws(SystemError) {
                try descriptor.write(progress.writer.bytes)
            } catch {
                // The file ends after a block.
                try? descriptor.truncate(to: progress.written)
                throw error
            }
            progress.written += progress.writer.bytes.count
            return true
        }
        var rest = progress.writer.bytes[...]
        var deadline = Instant.distantFuture
        while !rest.isEmpty {
            do throws(SystemError) {
                rest = rest.dropFirst(try descriptor.send(Array(rest.prefix(CaptureWriter.pieceSize))))
            } catch {
                guard error.code == Errno.again else { return false }
                let now = BootClock.now
                if isEnding.withLock({ $0 }) { deadline = min(deadline, now + CaptureWriter.closingTimeout) }
                guard now < deadline else { return false }
                // Looks at `isEnding` again from time to time.
                _ = descriptor.wait(for: .writable, until: min(deadline, now + .milliseconds(200)))
            }
        }
        return true
    }
}
