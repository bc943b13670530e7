// SPDX-License-Identifier: Apache-2.0

/// Keys of a log message's metadata, by which the log decides what to do with it.
package enum LogMetadata {
    /// A user has requested the message, so it is written even if it repeats another one.
    package static let isRequested = "requested"
}
