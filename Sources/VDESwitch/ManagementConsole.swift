// SPDX-License-Identifier: Apache-2.0
import Platform

/// The commands of a switch's console, in the words and with the answers of vde_switch(1), so that its terminals and
/// scripts can be used.
package final class ManagementConsole {
    /// What a command came to.
    package struct Reply: Equatable, Sendable {
        package enum End: Equatable, Sendable {
            /// The client wants to leave.
            case logout
            /// The switch is to end.
            case shutdown
        }

        /// Lines before everything else: what a loaded file's commands answered.
        package var preamble: [String] = []
        /// Lines between `0000 DATA` and the dot; nil for commands that print nothing.
        package var data: [String]?
        package var failure: ConsoleError?
        package var end: End?
    }

    /// What the console tells of things that are not the switch's.
    package struct Surroundings {
        package var version: String
        /// The switch's directory, and its control socket's mode.
        package var directory: String
        package var mode: UInt16
        /// The console's own socket, if there is one.
        package var path: String?
        package var pathMode: UInt16
        /// Disconnects a client: the port and the end's number.
        package var closeEnd: (Int, Int32) -> Void

        package init(
            version: String, directory: String, mode: UInt16, path: String?, pathMode: UInt16,
            closeEnd: @escaping (Int, Int32) -> Void
        ) {
            self.version = version
            self.directory = directory
            self.mode = mode
            self.path = path
            self.pathMode = pathMode
            self.closeEnd = closeEnd
        }
    }

    struct Command: Sendable {
        let name: String
        let syntax: String
        let help: String
        let hasData: Bool
        let body: @Sendable (ManagementConsole, Arguments) throws(ConsoleError) -> [String]
    }

    let virtualSwitch: VirtualSwitch
    let surroundings: Surroundings
    private let start = MonotonicClock.now
    /// The file that is being loaded: one cannot load another.
    private var isLoading = false
    /// Lines of the longest file of commands.
    private static let maximumLines = 4096

    package init(_ virtualSwitch: VirtualSwitch, _ surroundings: Surroundings) {
        self.virtualSwitch = virtualSwitch
        self.surroundings = surroundings
    }

    package static let prompt = "\nvde$ "

    /// Clients look for `V.`, the version and the end of the line.
    var banner: [String] {
        ["VDE switch V.\(surroundings.version)", "(vde_vmnet, which speaks the VDE protocol) - Apache-2.0", ""]
    }

    package var greeting: String { banner.map { $0 + "\n" }.joined() + "vde$ " }

    var uptime: UInt64 { (MonotonicClock.now - start) / MonotonicClock.second }

    /// Carries out one line. Nil for one that is blank or a comment.
    /// - Parameter user: who typed it, for what depends on the right to read files; nil for ourselves.
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

    /// A reply as the protocol has it, without the prompt.
    package static func text(_ reply: Reply) -> String {
        if reply.end != nil { return "9999 END OF SESSION" }
        var text = reply.preamble.map { $0 + "\n" }.joined()
        if let data = reply.data { text += "0000 DATA END WITH '.'\n" + data.map { $0 + "\n" }.joined() + ".\n" }
        return text + (reply.failure?.line ?? "1000 Success") + "\n"
    }

    /// Carries out the lines of a file as at start, where nobody reads the answers.
    /// - Throws: if it cannot be read.
    /// - Returns: the lines that failed, with their errors.
    package func run(file path: String) throws(SystemError) -> [(line: String, error: ConsoleError)] {
        var failures: [(String, ConsoleError)] = []
        for line in try ManagementConsole.lines(of: path) {
            if let failure = execute(line, user: nil)?.failure { failures.append((line, failure)) }
        }
        return failures
    }

    /// - Throws: "invalid argument" for what is no plain file, or a file that is too long.
    private static func lines(of path: String) throws(SystemError) -> [String] {
        // One that is no file, such as a FIFO, must not keep us waiting.
        let file = try Files.openForCaller(path)
        guard try file.status().kind == .regular else { throw SystemError(code: Errno.invalid, "read", path) }
        let bytes = try file.readAll(limit: 1 << 20)
        let lines = bytes.split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
        guard lines.count <= maximumLines else { throw SystemError(code: Errno.invalid, "read", path) }
        return lines
    }

    /// `load FILE` repeats each command and its answer, and so would show any file to whoever may use the console: it
    /// is for those only who could read what we can.
    private func load(_ arguments: Arguments, user: UInt32?) -> Reply {
        guard let path = arguments.words.first else { return Reply(failure: ConsoleError(code: Errno.noEntry)) }
        if let user, user != 0, user != Accounts.effectiveUser {
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
    /// The words behind a command.
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

/// The console's side of one conversation: takes bytes as they come, and says what to answer, a line at a time.
package struct ConsoleDialogue {
    /// Bytes of the longest line.
    private static let maximumLine = 4096

    /// What has come and was not answered yet.
    private var bytes: [UInt8] = []
    private var position = 0
    /// The rest of a line that is too long is thrown away.
    private var isSkipping = false

    package init() {}

    /// Takes what was read.
    package mutating func take(_ more: [UInt8]) {
        bytes.removeFirst(position)
        position = 0
        bytes += more
        // Without an end in sight it is no use to keep more.
        if !bytes.contains(UInt8(ascii: "\n")) && bytes.count > ConsoleDialogue.maximumLine {
            bytes.removeAll()
            isSkipping = true
        }
    }

    /// Whether a line has begun whose end has not come.
    package var isInLine: Bool { position < bytes.count && !bytes[position...].contains(UInt8(ascii: "\n")) }

    /// Takes what has come for a whole line: vdeterm sends none of its ends.
    package mutating func endLine() { bytes.append(UInt8(ascii: "\n")) }

    /// Carries out the next line.
    /// - Parameter showsPrompt: whether a prompt follows the answer.
    /// - Returns: what to send, and whether the conversation or the switch is to end then; nil if there is no whole
    ///   line.
    package mutating func next(
        _ console: ManagementConsole, user: UInt32?, showsPrompt: Bool = true
    ) -> (text: String, end: ManagementConsole.Reply.End?)? {
        guard let end = bytes[position...].firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        let line = bytes[position..<end]
        position = end + 1
        let isTooLong = isSkipping || line.count > ConsoleDialogue.maximumLine
        isSkipping = false
        let reply =
            isTooLong
            ? ManagementConsole.Reply(failure: .tooLong)
            : console.execute(String(decoding: line, as: UTF8.self), user: user)
        var text = reply.map(ManagementConsole.text) ?? ""
        if reply?.end == nil && showsPrompt { text += ManagementConsole.prompt }
        return (text, reply?.end)
    }
}
