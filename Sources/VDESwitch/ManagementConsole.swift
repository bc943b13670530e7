// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// The management console of a switch, with the commands and answers of vde_switch(1), so that its terminals and
/// scripts work.
package final class ManagementConsole {
    /// The result of a command.
    package struct Reply: Equatable, Sendable {
        /// What the session's owner must do after the answer is sent.
        package enum End: Equatable, Sendable {
            /// The client ends its session.
            case logout
            /// The switch must shut down.
            case shutdown
        }

        /// Lines before the answer: the answers of the commands in a loaded file.
        package var preamble: [String] = []
        /// Lines between `0000 DATA` and the dot; nil for commands that print nothing.
        package var data: [String]?
        /// nil for success, which the console reports as `1000 Success`.
        package var failure: ConsoleError?
        /// nil: the session goes on.
        package var end: End?
    }

    struct Command: Sendable {
        let name: String
        let syntax: String
        let help: String
        let hasData: Bool
        let body: @Sendable (ManagementConsole, Arguments) throws(ConsoleError) -> [String]
    }

    let virtualSwitch: VirtualSwitch
    let context: ConsoleContext
    private let start = BootClock.now
    /// Whether a file is being loaded: a loaded file cannot load another one.
    private var isLoading = false
    /// The maximum number of lines of a command file.
    private static let maximumLines = 4096

    package init(_ virtualSwitch: VirtualSwitch, _ context: ConsoleContext) {
        self.virtualSwitch = virtualSwitch
        self.context = context
    }

    package static let prompt = "\nvde$ "

    /// Clients parse the version between `V.` and the end of the line.
    var banner: [String] {
        ["VDE switch V.\(context.version)", "(vde_vmnet, which uses the VDE protocol) - Apache-2.0", ""]
    }

    /// Sent to a client that connects: the banner and the first prompt.
    package var greeting: String { banner.map { $0 + "\n" }.joined() + "vde$ " }

    /// Seconds since the console was made.
    var uptime: Int64 { (BootClock.now - start).seconds }

    /// Executes one line. Returns nil for a blank line or a comment.
    /// - Parameter user: the user that sent it, whose right to read files counts; nil for the switch's own files.
    package func execute(_ line: String, user: UInt32?) -> Reply? {
        let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
        guard let name = words.first, !name.hasPrefix("#") else { return nil }
        let arguments = Arguments(words: Array(words.dropFirst()))
        switch name {
        case "logout": return Reply(end: .logout)
        case "shutdown": return Reply(end: .shutdown)
        case "load": return load(arguments, user: user)
        default: break
        }
        guard let command = ManagementConsole.commands.first(where: { $0.name == name }) else {
            return Reply(failure: .unknownCommand)
        }
        do throws(ConsoleError) {
            let lines = try command.body(self, arguments)
            return Reply(data: command.hasData ? lines : nil)
        } catch {
            return Reply(data: command.hasData ? [] : nil, failure: error)
        }
    }

    /// A reply in the form of the protocol, without the prompt.
    package static func text(_ reply: Reply) -> String {
        if reply.end != nil { return "9999 END OF SESSION" }
        var text = reply.preamble.map { $0 + "\n" }.joined()
        if let data = reply.data { text += "0000 DATA END WITH '.'\n" + data.map { $0 + "\n" }.joined() + ".\n" }
        return text + (reply.failure?.line ?? "1000 Success") + "\n"
    }

    /// Executes the lines of a file at start, without a client.
    /// - Throws: if it cannot be read.
    /// - Returns: the failed lines with their errors.
    package func run(file path: String) throws(SystemError) -> [(line: String, error: ConsoleError)] {
        var failures: [(String, ConsoleError)] = []
        for line in try ManagementConsole.lines(of: path) {
            if let failure = execute(line, user: nil)?.failure { failures.append((line, failure)) }
        }
        return failures
    }

    /// - Throws: "invalid argument" if the path is not a regular file, or the file is too long.
    private static func lines(of path: String) throws(SystemError) -> [String] {
        // Opening a FIFO must not block.
        let file = try Files.openForCaller(path)
        guard try file.status().kind == .regular else { throw SystemError(code: Errno.invalid, "read", path) }
        let bytes = try file.readAll(limit: 1 << 20)
        let lines = bytes.split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
        guard lines.count <= maximumLines else { throw SystemError(code: Errno.invalid, "read", path) }
        return lines
    }

    /// `load FILE` prints each line of the file, so that it could disclose any file that this process can read to each
    /// client of the console. Only root and this process's user may use it.
    private func load(_ arguments: Arguments, user: UInt32?) -> Reply {
        guard let path = arguments.words.first else { return Reply(failure: ConsoleError(code: Errno.noEntry)) }
        if let user, user != 0, user != CurrentProcess.effectiveUser {
            return Reply(failure: ConsoleError(code: Errno.accessDenied))
        }
        guard !isLoading else { return Reply(failure: .invalid) }
        let lines: [String]
        do throws(SystemError) {
            lines = try ManagementConsole.lines(of: path)
        } catch {
            return Reply(failure: ConsoleError(code: error.code))
        }
        isLoading = true
        defer { isLoading = false }
        var transcript: [String] = []
        for line in lines {
            guard let reply = execute(line, user: user) else { continue }
            if reply.end != nil { return reply }
            transcript.append("vde[\(path)]: \(line)")
            transcript += ManagementConsole.text(reply).split(separator: "\n").map(String.init)
        }
        return Reply(preamble: transcript)
    }
}

extension ManagementConsole {
    /// The arguments of a command.
    struct Arguments {
        let words: [String]

        func optional(_ index: Int) throws(ConsoleError) -> Int? {
            guard index < words.count else { return nil }
            guard let number = Int(words[index]) else { throw .invalid }
            return number
        }

        func number(_ index: Int) throws(ConsoleError) -> Int {
            guard let number = try optional(index) else { throw .invalid }
            return number
        }

        func flag(_ index: Int) throws(ConsoleError) -> Bool {
            switch try number(index) {
            case 0: false
            case 1: true
            default: throw .invalid
            }
        }
    }
}
