// SPDX-License-Identifier: Apache-2.0

/// The effects that a state machine requests, collected over one or more inputs. The runner carries them out.
package struct Outbox: Sendable {
    /// Frames to send to guests, after `changes` are on disk (RFC 2131 section 3.1: commit, then acknowledge).
    package var frames: [[UInt8]] = []
    /// Leases that were assigned, extended or ended.
    package var changes: [Lease] = []
    /// Log messages for the operator.
    package var notes: [Note] = []

    /// No effects.
    package init() {}

    /// A log message.
    package struct Note: Equatable, Sendable {
        /// Levels of the logger.
        package enum Level: Sendable { case debug, info, warning }
        /// The level to log at.
        package let level: Level
        /// Without the port's name.
        package let text: String
        /// The port that the message is about, if any.
        package let port: ClientPort?
    }

    mutating func note(_ level: Note.Level, _ text: String, at port: ClientPort? = nil) {
        notes.append(Note(level: level, text: text, port: port))
    }
}
