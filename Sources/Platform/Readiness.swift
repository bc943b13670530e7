// SPDX-License-Identifier: Apache-2.0

/// Events of a descriptor: those to watch for, or those that have occurred.
@usableFromInline
package struct Readiness: OptionSet, BitwiseCopyable, Sendable {
    @usableFromInline package let rawValue: UInt32
    @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }

    @inlinable package static var readable: Readiness { Readiness(rawValue: 1) }
    @inlinable package static var writable: Readiness { Readiness(rawValue: 2) }
    /// An error, or the peer has closed; always reported.
    @inlinable package static var hangup: Readiness { Readiness(rawValue: 4) }
}
