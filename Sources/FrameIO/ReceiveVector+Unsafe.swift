// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform
import Wire

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Receives datagrams into the slots of one batch, many in a system call. The vectors are set up once and never change.
@safe
@usableFromInline
package struct ReceiveVector: ~Copyable {
    @usableFromInline let messages: UnsafeMutablePointer<platform_message>
    @usableFromInline let pieces: UnsafeMutablePointer<iovec>
    @usableFromInline let capacity: Int

    /// Prepared for `batch`, which must be the one given to `receive` and outlive this value.
    package init(for batch: borrowing FrameBatch) {
        capacity = batch.capacity
        unsafe messages = .allocate(capacity: capacity)
        unsafe pieces = .allocate(capacity: capacity)
        for index in 0..<capacity {
            let address = unsafe batch.address(at: FrameBatch.slotOffset(index))
            unsafe (pieces + index).initialize(to: iovec(iov_base: address, iov_len: FrameBatch.maximumFrameLength))
            unsafe (messages + index).initialize(to: platform_message())
            unsafe platform_message_set(messages + index, pieces + index, 1)
        }
    }

    deinit {
        unsafe messages.deallocate()
        unsafe pieces.deallocate()
    }

    /// Fills the empty `batch` with frames from the datagram socket `fd`, up to `limit` frames.
    @inlinable
    package func receive(from fd: Int32, into batch: inout FrameBatch, limit: Int = .max) -> ReceiveOutcome {
        precondition(batch.count == 0 && batch.capacity == capacity && limit > 0)
        var outcome = ReceiveOutcome()
        let result = unsafe platform_receive_batch(fd, messages, UInt32(min(limit, capacity)))
        if result < 0 {
            outcome.error = result == -Errno.again ? 0 : -result
            return outcome
        }
        for index in 0..<Int(result) {
            var length = unsafe platform_message_length(messages + index)
            if unsafe platform_message_truncated(messages + index) != 0 {
                outcome.truncated &+= 1
                length = 0
            } else if length == 0 {
                outcome.empty &+= 1
            }
            batch.append(length: length)
        }
        outcome.frames = Int(result)
        return outcome
    }
}

extension ReceiveVector {
    /// Fills the empty `batch` with frames from `device`.
    package func receive(from device: FrameDevice, into batch: inout FrameBatch) -> ReceiveOutcome {
        precondition(batch.count == 0 && batch.capacity == capacity)
        var outcome = ReceiveOutcome()
        let header = device.headerLength
        if header > 0 { move(by: -header) }
        let result = unsafe device.receive(pieces, capacity)
        for index in 0..<max(0, result) {
            let length = unsafe pieces[index].iov_len - header
            unsafe pieces[index].iov_len = FrameBatch.maximumFrameLength + header
            if header > 0 {
                guard length > 0, let offload = batch.receivedHeader(of: index) else {
                    outcome.truncated += 1
                    batch.append(length: 0)
                    continue
                }
                batch.append(length: min(length, FrameBatch.maximumFrameLength), offload: offload)
            } else {
                batch.append(length: min(length, FrameBatch.maximumFrameLength))
                if device.maximumGSOFrame > 0, length > EthernetHeader.length + device.mtu {
                    let frame = batch[index]
                    if let offload = VirtioNetHeader(gsoFrame: batch.bytes(of: frame), mtu: device.mtu) {
                        batch[index].offload = offload
                    }
                }
            }
        }
        if header > 0 { move(by: header) }
        outcome.frames = max(0, result)
        outcome.error = result < 0 ? Int32(-result) : 0
        return outcome
    }

    /// Moves the start of all receive buffers; their ends stay.
    private func move(by distance: Int) {
        for index in 0..<capacity {
            unsafe pieces[index].iov_base += distance
            unsafe pieces[index].iov_len -= distance
        }
    }
}
