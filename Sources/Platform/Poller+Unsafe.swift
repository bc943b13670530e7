// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Timing

/// Watches descriptors, level-triggered: epoll on Linux, kqueue on macOS. One thread at a time may wait.
@safe
@usableFromInline
package struct Poller: ~Copyable {
    @usableFromInline static let capacity = 64

    /// Readable while there are events, for another poller to watch.
    @usableFromInline package let descriptor: Descriptor
    @usableFromInline let events: UnsafeMutablePointer<platform_event>

    /// A poller that watches nothing (epoll_create(2), kqueue(2)).
    /// - Throws: if the process or the system has too many open files.
    package init() throws(SystemError) {
        descriptor = try Descriptor(checking: platform_poller_create(), "create a poller")
        unsafe events = .allocate(capacity: Poller.capacity)
    }

    deinit { unsafe events.deallocate() }

    /// `descriptor`, which stays this object's.
    package var raw: Int32 { descriptor.raw }

    /// Watches `fd`, which stays the caller's and must be removed before it is closed. Events carry `token`.
    package func add(_ fd: Int32, token: UInt64, for interest: Readiness) throws(SystemError) {
        try SystemError.check(platform_poller_add(descriptor.raw, fd, token, interest.rawValue), "watch a descriptor")
    }

    /// Changes what a watched descriptor is watched for, and the token of its events. Ignored for one that is not
    /// watched.
    package func modify(_ fd: Int32, token: UInt64, for interest: Readiness) {
        _ = platform_poller_modify(descriptor.raw, fd, token, interest.rawValue)
    }

    /// Whether the system reports that a full datagram socket's receiver has room again. It does on Linux; on macOS the
    /// sender must retry.
    package static let reportsWritability = platform_poller_reports_writability() != 0

    /// Stops watching `fd`; ignored if it is not watched. Events of the last wait remain readable.
    package func remove(_ fd: Int32) { _ = platform_poller_remove(descriptor.raw, fd) }

    /// Waits for events. Returns their number; `event(_:)` returns each of them until the next wait.
    /// - Parameters:
    ///   - timeout: nanoseconds; 0 polls without waiting, nil waits without limit.
    ///   - count: the maximum number of events; the next wait returns the others first.
    @inlinable
    package func wait(timeout: UInt64?, atMost count: Int = capacity) -> Int {
        let limit = timeout.map { Int64(min($0, 1 << 62)) } ?? -1
        return Int(
            max(0, unsafe platform_poller_wait(descriptor.raw, events, Int32(min(count, Poller.capacity)), limit)))
    }

    /// Waits for events. Returns their number; `event(_:)` returns each of them until the next wait.
    /// - Parameters:
    ///   - deadline: when to stop waiting; `distantFuture`: never.
    ///   - now: the current time, which the caller has read already.
    ///   - count: the maximum number of events; the next wait returns the others first.
    @inlinable
    package func wait(until deadline: Instant, now: Instant, atMost count: Int = capacity) -> Int {
        let limit = deadline == .distantFuture ? -1 : max(0, (deadline - now).nanoseconds)
        return Int(
            max(0, unsafe platform_poller_wait(descriptor.raw, events, Int32(min(count, Poller.capacity)), limit)))
    }

    /// Polls in a loop for up to `limit` nanoseconds without sleeping. Returns the number of events.
    @inlinable
    package func spin(limit: UInt64) -> Int {
        Int(max(0, unsafe platform_poller_spin(descriptor.raw, events, Int32(Poller.capacity), Int64(limit))))
    }

    /// An event of the last wait: the token of its descriptor, and what that is ready for.
    /// - Parameter index: less than the number that the wait returned.
    @inlinable
    package func event(_ index: Int) -> (token: UInt64, ready: Readiness) {
        precondition(index >= 0 && index < Poller.capacity)
        return unsafe (events[index].token, Readiness(rawValue: events[index].ready))
    }
}
