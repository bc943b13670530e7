// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Timing

/// What a descriptor is ready for, or is to be watched for.
@usableFromInline
package struct Readiness: OptionSet, BitwiseCopyable, Sendable {
    @usableFromInline package let rawValue: UInt32
    @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }

    @inlinable package static var readable: Readiness { Readiness(rawValue: 1) }
    @inlinable package static var writable: Readiness { Readiness(rawValue: 2) }
    /// An error or the peer's end; reported whether asked for or not.
    @inlinable package static var hangup: Readiness { Readiness(rawValue: 4) }
}

/// Watches descriptors, level-triggered: epoll on Linux, kqueue on macOS. Waited for by one thread at a time.
@safe
@usableFromInline
package struct Poller: ~Copyable {
    @usableFromInline static let capacity = 64

    /// Readable while there are events, for another poller to watch.
    @usableFromInline package let descriptor: Descriptor
    @usableFromInline let events: UnsafeMutablePointer<platform_event>

    package init() throws(SystemError) {
        descriptor = try Descriptor(checking: platform_poller_create(), "create a poller")
        unsafe events = .allocate(capacity: Poller.capacity)
    }

    deinit { unsafe events.deallocate() }

    package var raw: Int32 { descriptor.raw }

    /// Watches `fd`, which stays the caller's and must be removed before it is closed. Events carry `token`.
    package func add(_ fd: Int32, token: UInt64, for interest: Readiness) throws(SystemError) {
        try SystemError.check(platform_poller_add(descriptor.raw, fd, token, interest.rawValue), "watch a descriptor")
    }

    package func modify(_ fd: Int32, token: UInt64, for interest: Readiness) {
        _ = platform_poller_modify(descriptor.raw, fd, token, interest.rawValue)
    }

    /// Whether watching a full datagram socket for writing tells when its receiver has room again.
    package static let tellsOfRoom = platform_poller_tells_of_room() != 0

    package func remove(_ fd: Int32) { _ = platform_poller_remove(descriptor.raw, fd) }

    /// Waits for events and returns how many there are, to be asked for with `event(_:)` before the next wait.
    /// - Parameters:
    ///   - timeout: nanoseconds; 0 looks and returns at once, nil waits for ever.
    ///   - count: how many at most; the others come first the next time.
    @inlinable
    package func wait(timeout: UInt64?, atMost count: Int = capacity) -> Int {
        let limit = timeout.map { Int64(min($0, 1 << 62)) } ?? -1
        return Int(
            max(0, unsafe platform_poller_wait(descriptor.raw, events, Int32(min(count, Poller.capacity)), limit)))
    }

    /// Waits for events and returns how many there are, to be asked for with `event(_:)` before the next wait.
    /// - Parameters:
    ///   - deadline: until when; `distantFuture` waits for ever.
    ///   - now: the time, as the caller has it.
    ///   - count: how many at most; the others come first the next time.
    @inlinable
    package func wait(until deadline: Instant, now: Instant, atMost count: Int = capacity) -> Int {
        let limit = deadline == .distantFuture ? -1 : max(0, (deadline - now).nanoseconds)
        return Int(
            max(0, unsafe platform_poller_wait(descriptor.raw, events, Int32(min(count, Poller.capacity)), limit)))
    }

    /// Looks for events for up to `limit` nanoseconds without sleeping. Returns how many there are.
    @inlinable
    package func spin(limit: UInt64) -> Int {
        Int(max(0, unsafe platform_poller_spin(descriptor.raw, events, Int32(Poller.capacity), Int64(limit))))
    }

    @inlinable
    package func event(_ index: Int) -> (token: UInt64, ready: Readiness) {
        precondition(index >= 0 && index < Poller.capacity)
        return unsafe (events[index].token, Readiness(rawValue: events[index].ready))
    }
}

/// Wakes a thread that waits in a `Poller`. `signal` may be called from any thread.
package struct Wakeup: ~Copyable, Sendable {
    /// The descriptor to poll for reading.
    package let descriptor: Descriptor
    /// The end to write to, where that is another descriptor than the one to poll.
    private let other: Descriptor?
    private let signalling: Int32

    package init() throws(SystemError) {
        var ends: (Int32, Int32) = (-1, -1)
        let result = unsafe withUnsafeMutableBytes(of: &ends) {
            unsafe platform_wakeup_create($0.assumingMemoryBound(to: Int32.self).baseAddress!)
        }
        try SystemError.check(result, "create an event descriptor")
        descriptor = Descriptor(adopting: ends.0)
        other = ends.1 == ends.0 ? nil : Descriptor(adopting: ends.1)
        signalling = ends.1
    }

    package func signal() { platform_wakeup_signal(signalling) }

    /// Forgets the signals so far.
    package func drain() { Wakeup.drain(descriptor.raw) }

    /// The same for a wake-up of which only the descriptor to poll is at hand.
    package static func drain(_ raw: Int32) { platform_wakeup_drain(raw) }

    /// The end to write to, for code in C. Lives as long as this value.
    package var signalDescriptor: Int32 { signalling }
}
