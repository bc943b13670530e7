// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import Lifecycle
import Logging
import Platform
import Timing

/// Logs to standard error: `vde_vmnet: warning: ...`. The collector (journald, launchd) adds the time; at debug level
/// and below each line shows the seconds since the start. Above it, a line that repeats another one within ten seconds
/// is counted. In the background, lines go to the system log instead.
struct StandardErrorLog: LogHandler {
    /// Whether this process runs in the background.
    static let isInBackground = Mutex(false)

    /// How lines on standard error look.
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case text, json
    }

    /// Repeated lines, of all loggers together.
    private static let repeated = RepeatedLog()

    private let start = BootClock.now
    private let format: Format
    /// journald's socket, if it reads standard error: it gets each message with its fields.
    private let journal: JournalSocket?

    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level

    init(logLevel: Logger.Level, format: Format = .text) {
        self.logLevel = logLevel
        self.format = format
        journal = format == .text ? JournalSocket() : nil
    }

    /// Writes how often lines were suppressed, before the program ends.
    static func flush() { repeated.flush() }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let line = RepeatedLines.Line(level: event.level, text: event.message.description)
        // What a user has requested is written as often as it is requested; lines at debug level have their times.
        if logLevel <= .debug || event.metadata?[LogMetadata.isRequested] != nil { return write(line) }
        StandardErrorLog.repeated.log(line, write)
    }

    private func write(_ line: RepeatedLines.Line) {
        let level = line.level, message = line.text
        if StandardErrorLog.isInBackground.withLock({ $0 }) {
            return SystemLog.write(message, priority: StandardErrorLog.priority(level))
        }
        if format == .json {
            let fields: [(String, JSON)] = [
                ("time", .integer(Int(WallClock.seconds))), ("level", .string("\(level)")),
                ("program", .string("vde_vmnet")), ("message", .string(message)),
            ]
            return LogOutput.write(JSON.object(fields).text + "\n")
        }
        if let journal, journal.send(message, priority: StandardErrorLog.priority(level)) { return }
        var text = "vde_vmnet: "
        if logLevel <= .debug {
            let milliseconds = (BootClock.now - start).milliseconds
            text += "\(milliseconds / 1000).\(String(1000 + milliseconds % 1000).dropFirst()) "
        }
        if level != .info && level != .notice { text += "\(level): " }
        // Paths in it may have any character.
        LogOutput.write(text + PrintableText.message(message) + "\n")
    }

    /// syslog(3)'s number for a level.
    private static func priority(_ level: Logger.Level) -> Int32 {
        switch level {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
