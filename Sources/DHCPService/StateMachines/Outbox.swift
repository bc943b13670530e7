// SPDX-License-Identifier: Apache-2.0

/// What a state machine of the address service wants done, collected over one or more inputs.
package struct Outbox: Sendable {
    /// Frames to send to the guests, after `changes` are on the disk (RFC 2131 section 3.1: commit, then acknowledge).
    package var frames: [[UInt8]] = []
    /// Leases that were granted, extended or ended.
    package var changes: [Lease] = []
    /// What an operator may want to know.
    package var notes: [Note] = []

    package init() {}

    package struct Note: Equatable, Sendable {
        package enum Level: Sendable { case debug, info, warning }
        package let level: Level
        package let text: String
        /// The port that it is about, if there is one.
        package let port: ClientPort?
    }

    mutating func note(_ level: Note.Level, _ text: String, at port: ClientPort? = nil) {
        notes.append(Note(level: level, text: text, port: port))
    }
}
