// SPDX-License-Identifier: Apache-2.0

/// One client of the console: buffers the received bytes, and executes them line by line.
package struct ConsoleSession {
    /// The longest line in bytes.
    private static let maximumLine = 4096

    /// Received bytes; those before `position` are executed.
    private var bytes: [UInt8] = []
    private var position = 0
    /// Whether the rest of a line that is too long is being discarded.
    private var isSkipping = false

    package init() {}

    /// Appends received bytes.
    package mutating func take(_ more: [UInt8]) {
        bytes.removeFirst(position)
        position = 0
        bytes += more
        // The line is too long: discard it, so that the buffer stays bounded.
        if !bytes.contains(UInt8(ascii: "\n")) && bytes.count > ConsoleSession.maximumLine {
            bytes.removeAll()
            isSkipping = true
        }
    }

    /// Whether an incomplete line is buffered.
    package var isInLine: Bool { position < bytes.count && !bytes[position...].contains(UInt8(ascii: "\n")) }

    /// Ends the buffered line: vdeterm sends no line ends.
    package mutating func endLine() { bytes.append(UInt8(ascii: "\n")) }

    /// Executes the next line.
    /// - Parameter showsPrompt: whether a prompt follows the answer.
    /// - Returns: the text to send, and whether the session or the switch must end then; nil without a complete line.
    package mutating func next(
        _ console: ManagementConsole, user: UInt32?, showsPrompt: Bool = true
    ) -> (text: String, end: ManagementConsole.Reply.End?)? {
        guard let end = bytes[position...].firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        let line = bytes[position..<end]
        position = end + 1
        let isTooLong = isSkipping || line.count > ConsoleSession.maximumLine
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
