// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Receives datagrams of many senders at one socket, each with its sender's name; otherwise as `ReceiveVector`.
@safe
package struct NamedReceiveVector: ~Copyable {
    private let messages: UnsafeMutablePointer<platform_message>
    private let pieces: UnsafeMutablePointer<iovec>
    private let names: UnsafeMutableRawPointer
    private let controls: UnsafeMutableRawPointer
    private let capacity: Int

    /// Prepared for `batch`, which must be the one given to `receive` and outlive this value.
    package init(for batch: borrowing FrameBatch) {
        capacity = batch.capacity
        let nameSize = Int(PLATFORM_NAME_SIZE), controlSize = Int(PLATFORM_CONTROL_SIZE)
        unsafe messages = .allocate(capacity: capacity)
        unsafe pieces = .allocate(capacity: capacity)
        unsafe names = .allocate(byteCount: capacity * nameSize, alignment: 16)
        unsafe controls = .allocate(byteCount: capacity * controlSize, alignment: 16)
        unsafe names.initializeMemory(as: UInt8.self, repeating: 0, count: capacity * nameSize)
        for index in 0..<capacity {
            let address = unsafe batch.address(at: FrameBatch.slotOffset(index))
            unsafe (pieces + index).initialize(to: iovec(iov_base: address, iov_len: FrameBatch.maximumFrameLength))
            unsafe (messages + index).initialize(to: platform_message())
            unsafe platform_message_set(messages + index, pieces + index, 1)
            unsafe platform_message_set_name(messages + index, names + index * nameSize, controls + index * controlSize)
        }
    }

    deinit {
        unsafe messages.deallocate()
        unsafe pieces.deallocate()
        unsafe names.deallocate()
        unsafe controls.deallocate()
    }

    /// Fills the empty `batch` with frames from the datagram socket `fd`.
    package func receive(from fd: Int32, into batch: inout FrameBatch) -> ReceiveOutcome {
        precondition(batch.count == 0 && batch.capacity == capacity)
        var outcome = ReceiveOutcome()
        let result = unsafe platform_receive_batch_named(fd, messages, UInt32(capacity))
        if result < 0 {
            outcome.error = result == -Errno.again ? 0 : -result
            return outcome
        }
        for index in 0..<Int(result) {
            var length = unsafe platform_message_length(messages + index)
            if unsafe platform_message_truncated(messages + index) != 0 {
                outcome.truncated += 1
                length = 0
            }
            batch.append(length: length)
        }
        outcome.frames = Int(result)
        return outcome
    }

    /// The name that the sender of message `index` has bound; empty if none.
    @_lifetime(borrow self)
    package func name(of index: Int) -> RawSpan {
        precondition(index >= 0 && index < capacity)
        var length = 0
        let path = unsafe platform_message_name(messages + index, &length)
        let span = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(path!), byteCount: length)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// The user that owns the sender of message `index`; nil if the system does not report it.
    package func user(of index: Int) -> UInt32? {
        precondition(index >= 0 && index < capacity)
        var user: UInt32 = 0
        return unsafe platform_message_user(messages + index, &user) == 0 ? user : nil
    }
}
