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

/// Receives datagrams of many senders at one socket, each with its sender's name. As `ReceiveVector` otherwise.
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

    /// Fills the empty `batch` with what waits at the datagram socket `fd`.
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

    /// Who sent message `index`; nil where the system does not tell.
    package func user(of index: Int) -> UInt32? {
        precondition(index >= 0 && index < capacity)
        var user: UInt32 = 0
        return unsafe platform_message_user(messages + index, &user) == 0 ? user : nil
    }
}

/// Where datagrams are sent through a socket that is not connected.
@safe
package struct DatagramDestination: ~Copyable {
    private let address: UnsafeMutableRawPointer
    private let length: Int

    package init?(_ path: [UInt8]) {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: Int(PLATFORM_NAME_SIZE), alignment: 16)
        let size = unsafe path.withUnsafeBufferPointer {
            unsafe platform_unix_address($0.baseAddress, $0.count, memory)
        }
        guard size > 0 else {
            unsafe memory.deallocate()
            return nil
        }
        unsafe address = memory
        length = Int(size)
    }

    deinit { unsafe address.deallocate() }

    /// Sends the messages of `vector` from `first` on through the socket `fd`.
    /// - Returns: how many were taken, and the positive errno that stopped the next one, 0 if all went.
    package func send(_ vector: borrowing SendVector, from first: Int, through fd: Int32) -> (sent: Int, error: Int32) {
        var sent = 0
        while first + sent < vector.count {
            let result = unsafe platform_send_batch_to(
                fd, vector.messages + first + sent, UInt32(vector.count - first - sent), address, length)
            if result < 0 {
                if result == -Errno.interrupted { continue }
                return (sent, -result)
            }
            sent += Int(result)
        }
        return (sent, 0)
    }
}

extension Descriptor {
    /// Sends a datagram to the unix socket at `path` without blocking.
    package func send(_ bytes: [UInt8], toUnix path: UnixPath) throws(SystemError) {
        var address = [UInt8](repeating: 0, count: Int(PLATFORM_NAME_SIZE))
        let length = unsafe path.bytes.withUnsafeBufferPointer { path in
            unsafe address.withUnsafeMutableBytes {
                unsafe platform_unix_address(path.baseAddress, path.count, $0.baseAddress)
            }
        }
        try SystemError.check(length, "use", path.description)
        let sent = unsafe bytes.withUnsafeBytes { bytes in
            unsafe address.withUnsafeBytes {
                unsafe platform_unix_send(raw, bytes.baseAddress, bytes.count, $0.baseAddress, Int(length))
            }
        }
        try SystemError.check(sent, "send to", path.description)
    }

    /// Makes a datagram socket tell its senders' users. Returns whether the system can.
    @discardableResult
    package func tellSenders() -> Bool { platform_tell_senders(raw) != 0 }

    /// Holds fast to the socket that `path` names now, which must belong to `owner` (0: anybody). nil where the system
    /// has no such thing.
    package static func pin(_ path: [UInt8], owner: UInt32) throws(SystemError) -> Descriptor? {
        let result = unsafe path.withUnsafeBufferPointer { unsafe platform_unix_pin($0.baseAddress, $0.count, owner) }
        if result == -Errno.notSupported { return nil }
        return Descriptor(adopting: try SystemError.check(result, "use", String(decoding: path, as: UTF8.self)))
    }
}
