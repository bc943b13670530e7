// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Timing

/// A child process, which must be waited for.
package struct ChildProcess: Sendable {
    /// The process id.
    package let identifier: Int32

    /// Starts `arguments[0]`, looked up in PATH unless it has a slash, with default signal handling.
    /// - Parameters:
    ///   - environment: added to, or replacing, this process's own; a nil value removes one.
    ///   - input: the child's standard input, output and error; -1 for /dev/null. They stay the caller's.
    ///   - leadsGroup: the child leads its own process group, which `signalGroup` reaches.
    package init(
        _ arguments: [String], environment: [String: String?] = [:], input: Int32 = -1, output: Int32 = -1,
        error: Int32 = -1, leadsGroup: Bool = false
    ) throws(SystemError) {
        let variables = ChildProcess.variables(environment)
        var process: Int32 = 0
        let result = unsafe Self.withCStrings(arguments) { arguments in
            unsafe Self.withCStrings(variables) { variables in
                unsafe platform_spawn(
                    arguments[0], arguments, variables, input, output, error, leadsGroup ? 1 : 0, &process)
            }
        }
        try SystemError.check(result, "start", arguments[0])
        identifier = process
    }

    /// A child that another function has started.
    init(identifier: Int32) { self.identifier = identifier }

    /// This process's environment with changes; nil removes a variable.
    static func variables(_ changes: [String: String?]) -> [String] {
        var variables: [String] = []
        var next = unsafe platform_environment()
        while let pointer = unsafe next?.pointee {
            let entry = unsafe String(cString: pointer)
            if changes.index(forKey: String(entry.prefix { $0 != "=" })) == nil { variables.append(entry) }
            unsafe next = next?.advanced(by: 1)
        }
        for case (let name, let value?) in changes { variables.append(name + "=" + value) }
        return variables
    }

    static func withCStrings<Result>(
        _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        var pointers = unsafe strings.map { unsafe strdup($0) }
        unsafe pointers.append(nil)
        defer { unsafe pointers.forEach { unsafe free($0) } }
        return unsafe pointers.withUnsafeBufferPointer { unsafe body($0.baseAddress!) }
    }

    /// How a process ended.
    package enum Termination: Equatable, Sendable {
        case exited(Int32)
        case signalled(Int32)

        /// Whether the program ended by itself with status 0.
        package var isSuccess: Bool { self == .exited(0) }
    }

    /// Waits until the child ends.
    @discardableResult
    package func wait() -> Termination {
        var status: Int32 = 0
        while unsafe waitpid(identifier, &status, 0) < 0 && Errno.last == EINTR {}
        return Self.termination(status)
    }

    /// How the child ended, without waiting; nil while it runs. The process id is free for reuse afterwards.
    package func poll() -> Termination? {
        var status: Int32 = 0
        return unsafe waitpid(identifier, &status, WNOHANG) == identifier ? Self.termination(status) : nil
    }

    private static func termination(_ status: Int32) -> Termination {
        status & 0x7f == 0 ? .exited(status >> 8 & 0xff) : .signalled(status & 0x7f)
    }

    /// Sends the child a signal.
    package func signal(_ number: Int32) { _ = kill(identifier, number) }

    /// Signals the group that the child leads.
    package func signalGroup(_ number: Int32) { _ = kill(-identifier, number) }

    /// The outcome of a program that has ended.
    package struct Output: Sendable {
        /// How the program ended.
        package let termination: Termination
        /// What the program printed on its standard output; bytes that are not UTF-8 are replaced.
        package let output: String
        /// What the program printed on its standard error.
        package let error: String

        /// Whether the program ended by itself with status 0.
        package var succeeded: Bool { termination.isSuccess }
    }

    /// Runs a program to its end, feeding it `input` and collecting what it prints.
    /// - Parameters:
    ///   - descriptor: the program's standard input, in place of `input`; it stays the caller's.
    ///   - leadsGroup: the program leads its own process group, so that signals from the terminal do not reach it.
    ///   - timeout: after it the program is killed.
    package static func run(
        _ arguments: [String], environment: [String: String?] = [:], input: String = "", descriptor: Int32? = nil,
        leadsGroup: Bool = false, timeout: TimeAmount = .seconds(30)
    ) throws(SystemError) -> Output {
        let deadline = BootClock.now + timeout
        let feeding = try PipeEnds(), output = try PipeEnds(), error = try PipeEnds()
        let child = try ChildProcess(
            arguments, environment: environment, input: descriptor ?? feeding.reader, output: output.writer,
            error: error.writer, leadsGroup: leadsGroup)
        feeding.closeReader()
        output.closeWriter()
        error.closeWriter()
        _ = platform_fcntl(feeding.writer, F_SETFL, O_NONBLOCK)
        // The daemon ignores SIGPIPE: if the child closes its input, the write fails with EPIPE and the rest is
        // dropped.
        var pending = Array(input.utf8)[...]
        var collected: ([UInt8], [UInt8]) = ([], [])
        while output.reader >= 0 || error.reader >= 0 {
            if pending.isEmpty { feeding.closeWriter() }
            let now = BootClock.now
            guard now < deadline else {
                child.signal(SIGKILL)
                break
            }
            // poll(2) ignores negative descriptors.
            var entries = [
                pollfd(fd: feeding.writer, events: Int16(POLLOUT), revents: 0),
                pollfd(fd: output.reader, events: Int16(POLLIN), revents: 0),
                pollfd(fd: error.reader, events: Int16(POLLIN), revents: 0),
            ]
            let remaining = Int32(min(1000, (deadline - now).milliseconds + 1))
            guard unsafe systemPoll(&entries, 3, remaining) > 0 else { continue }
            if entries[0].revents != 0 {
                let written = unsafe pending.withUnsafeBytes { unsafe write(feeding.writer, $0.baseAddress, $0.count) }
                if written > 0 { pending = pending.dropFirst(written) } else if Errno.last != EAGAIN { pending = [] }
            }
            if entries[1].revents != 0 { output.drain(into: &collected.0) }
            if entries[2].revents != 0 { error.drain(into: &collected.1) }
        }
        let termination = child.wait()
        return Output(
            termination: termination, output: String(decoding: collected.0, as: UTF8.self),
            error: String(decoding: collected.1, as: UTF8.self))
    }
}
