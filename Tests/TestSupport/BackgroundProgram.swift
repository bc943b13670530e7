// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// A program that runs beside the test, what it prints collected; ended with the value.
package final class BackgroundProgram {
    /// The two streams in the order in which the lines came.
    private final class Collected: @unchecked Sendable {
        let text = Mutex("")
        /// Set when no process has the streams any more.
        let isComplete = Mutex(false)
    }

    package let name: String
    private let process: ChildProcess
    private let collected = Collected()
    private let input: Descriptor
    private var termination: ChildProcess.Termination?
    /// Whether it undoes changes of the host when it ends.
    private let endsInOrder: Bool

    /// Starts `arguments`; standard output and error are collected together, and passed on to `echo` as they come.
    package init(
        _ arguments: [String], environment: [String: String?] = [:], name: String? = nil,
        echo: (@Sendable (String) -> Void)? = nil
    ) throws {
        self.name = name ?? arguments[0]
        endsInOrder = arguments.contains { $0.hasSuffix("/vde_vmnet") || $0.hasSuffix("/vde_vmnet_simulated") }
        let output = try DescriptorPair.pipe()
        let input = try DescriptorPair.pipe()
        process = try ChildProcess(
            arguments, environment: environment, input: input.first.raw, output: output.second.raw,
            error: output.second.raw, leadsGroup: true)
        self.input = try input.second.duplicate()
        let reader = try output.first.duplicate().release()
        let collected = collected
        try WorkerThread.start(named: "collector") {
            let descriptor = Descriptor(adopting: reader)
            while let bytes = try? descriptor.read(limit: 65_536), !bytes.isEmpty {
                let text = String(decoding: bytes, as: UTF8.self)
                collected.text.withLock { $0 += text }
                echo?(text)
            }
            collected.isComplete.withLock { $0 = true }
        }
    }

    deinit {
        if endsInOrder { _ = try? stop(within: BackgroundProgram.endTimeout) }
        kill()
    }

    /// Seconds after which a program is killed.
    private static let endTimeout = 5.0

    package var identifier: Int32 { process.identifier }

    /// Everything printed so far.
    package var output: String { collected.text.withLock { $0 } }

    package func type(_ text: String) throws { try input.write(Array(text.utf8)) }

    /// Waits until `pattern` has been printed, after the first `offset` characters.
    /// - Returns: what was printed up to and including it.
    @discardableResult
    package func wait(for pattern: String, after offset: Int = 0, within seconds: Double = 30) throws -> String {
        let deadline = BootClock.now + .fractionalSeconds(seconds)
        while true {
            let text = output.dropFirst(offset)
            if let range = text.firstRange(of: pattern) { return String(text[..<range.upperBound]) }
            if let end = poll(), !output.dropFirst(offset).contains(pattern) {
                throw TimedOut("\(name) ended (\(end)) before it printed '\(pattern)':\n\(output)")
            }
            guard BootClock.now < deadline else {
                throw TimedOut("\(name) did not print '\(pattern)' within \(seconds) s:\n\(output)")
            }
            BootClock.sleep(.milliseconds(2))
        }
    }

    /// How it ended, if it has.
    package func poll() -> ChildProcess.Termination? {
        if termination == nil { termination = process.poll() }
        return termination
    }

    /// Waits for the end, and for what it has printed. A process that it has left may keep the streams.
    @discardableResult
    package func waitForEnd(within seconds: Double = 10) throws -> ChildProcess.Termination {
        try eventually("the end of \(name); it has printed:\n\(output)", within: seconds) { poll() != nil }
        try? eventually("the end of the streams", within: 1) { collected.isComplete.withLock { $0 } }
        return termination!
    }

    package func signal(_ number: Int32) { if poll() == nil { process.signal(number) } }

    /// Ends it with SIGTERM and waits.
    @discardableResult
    package func stop(within seconds: Double = 10) throws -> ChildProcess.Termination {
        signal(Signal.terminate)
        return try waitForEnd(within: seconds)
    }

    /// Kills it and what it started.
    package func kill() {
        process.signalGroup(Signal.kill)
        if termination == nil { termination = process.wait() }
    }
}
