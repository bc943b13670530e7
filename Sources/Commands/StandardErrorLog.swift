// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform

/// Log lines on standard error: `vde_vmnet: warning: ...`. Times are left to whoever collects them (journald, launchd); at debug level and
/// below the seconds since the start are shown.
struct StandardErrorLog: LogHandler {
    private let start = MonotonicClock.now

    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level

    init(logLevel: Logger.Level) { self.logLevel = logLevel }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var line = "vde_vmnet: "
        if logLevel <= .debug {
            let milliseconds = (MonotonicClock.now - start) / MonotonicClock.millisecond
            line += "\(milliseconds / 1000).\(String(1000 + milliseconds % 1000).dropFirst()) "
        }
        if event.level != .info && event.level != .notice { line += "\(event.level): " }
        StandardOutput.writeError(line + event.message.description + "\n")
    }
}
