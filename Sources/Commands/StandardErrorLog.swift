// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Timing

/// Logs to standard error: `vde_vmnet: warning: ...`. The collector (journald, launchd) adds the time; at debug level
/// and below each line shows the seconds since the start. In the background, lines go to the system log instead.
struct StandardErrorLog: LogHandler {
    /// Whether this process runs in the background.
    static let isInBackground = Mutex(false)

    private let start = BootClock.now

    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level

    init(logLevel: Logger.Level) { self.logLevel = logLevel }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        if StandardErrorLog.isInBackground.withLock({ $0 }) {
            return SystemLog.write(event.message.description, priority: StandardErrorLog.priority(event.level))
        }
        var line = "vde_vmnet: "
        if logLevel <= .debug {
            let milliseconds = (BootClock.now - start).milliseconds
            line += "\(milliseconds / 1000).\(String(1000 + milliseconds % 1000).dropFirst()) "
        }
        if event.level != .info && event.level != .notice { line += "\(event.level): " }
        StandardOutput.writeError(line + event.message.description + "\n")
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
