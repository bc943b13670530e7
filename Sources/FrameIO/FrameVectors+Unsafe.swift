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

/// What one receive call brought.
@usableFromInline
package struct ReceiveOutcome: BitwiseCopyable, Sendable {
    /// Frames appended to the batch. Some may be runts, a datagram that was too long has length 0.
    @usableFromInline package var frames = 0
    /// How many of them were longer than any frame may be.
    @usableFromInline package var truncated = 0
    /// How many of them were empty datagrams, by which a libvdeplug peer says goodbye.
    @usableFromInline package var empty = 0
    /// A positive errno where nothing was received for another reason than that nothing was there.
    @usableFromInline package var error: Int32 = 0

    @inlinable package init() {}
}

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

    /// Fills the empty `batch` with what waits at the datagram socket `fd`, up to `limit` frames.
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
    /// Fills the empty `batch` with what waits at `device`.
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
                if device.maximumSuperFrame > 0, length > 14 + device.mtu {
                    let frame = batch[index]
                    if let offload = VirtioNetHeader(superFrame: batch.bytes(of: frame), mtu: device.mtu) {
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

    /// Moves where frames are received to, keeping their end where it is.
    private func move(by distance: Int) {
        for index in 0..<capacity {
            unsafe pieces[index].iov_base += distance
            unsafe pieces[index].iov_len -= distance
        }
    }
}

/// Frames gathered for one receiver, each in one piece or as headers and payload, to be sent many in a system call.
/// Holds addresses of memory that must stay in place until `removeAll`.
@safe
@usableFromInline
package struct SendVector: ~Copyable {
    @usableFromInline package static let capacity = 128
    @usableFromInline static let headerStride = (Segmenter.maximumHeaderLength + VLANTag.length + 63) / 64 * 64

    @usableFromInline let messages: UnsafeMutablePointer<platform_message>
    @usableFromInline let pieces: UnsafeMutablePointer<iovec>
    /// Room for the headers that a segmenter writes, one block for each message.
    @usableFromInline let headers: UnsafeMutableRawPointer
    @usableFromInline package private(set) var count = 0
    /// Pieces of a run that is being put together (RunVector).
    var runPieces = 0

    package init() {
        unsafe messages = .allocate(capacity: SendVector.capacity)
        unsafe pieces = .allocate(capacity: 2 * SendVector.capacity)
        unsafe headers = .allocate(byteCount: SendVector.capacity * SendVector.headerStride, alignment: 64)
        unsafe messages.initialize(repeating: platform_message(), count: SendVector.capacity)
        unsafe pieces.initialize(repeating: iovec(), count: 2 * SendVector.capacity)
    }

    deinit {
        unsafe messages.deallocate()
        unsafe pieces.deallocate()
        unsafe headers.deallocate()
    }

    @inlinable
    package var isFull: Bool { count == SendVector.capacity }

    @inlinable
    package mutating func removeAll() { count = 0 }

    /// Appends `length` bytes at `address`.
    @unsafe
    @inlinable
    package mutating func append(_ address: UnsafeMutableRawPointer, length: Int) {
        precondition(count < SendVector.capacity)
        let piece = unsafe pieces + 2 * count
        unsafe piece.pointee = iovec(iov_base: address, iov_len: length)
        unsafe platform_message_set(messages + count, piece, 1)
        count &+= 1
    }

    /// Appends a whole frame of `batch`.
    @inlinable
    package mutating func append(frame: FrameDescriptor, of batch: borrowing FrameBatch) {
        unsafe append(batch.address(at: Int(frame.offset)), length: Int(frame.length))
    }

    /// Appends a frame of `batch` with its VLAN tag put in or taken out on the way; the frame itself stays as it is.
    package mutating func append(frame: FrameDescriptor, of batch: borrowing FrameBatch, edit: TagEdit) {
        precondition(count < SendVector.capacity && frame.length >= (edit == .strip ? 18 : 14))
        let block = unsafe headers + count * SendVector.headerStride
        // The addresses, and the tag where there is one to lose.
        let copied = edit == .strip ? 16 : 12
        unsafe block.copyMemory(from: batch.address(at: Int(frame.offset)), byteCount: copied)
        let length = unsafe SendVector.apply(edit, to: block, copied, vlan: frame.vlan)
        unsafe append(block, length, batch.address(at: Int(frame.offset) + copied), Int(frame.length) - copied)
    }

    /// Appends the next frame that `segmenter` cuts from `frame` of `batch`. Returns false if there is none left.
    @inlinable
    package mutating func append(
        nextOf segmenter: inout Segmenter, from frame: FrameDescriptor, in batch: borrowing FrameBatch,
        edit: TagEdit = .keep
    ) -> Bool {
        precondition(count < SendVector.capacity)
        let block = unsafe headers + count * SendVector.headerStride
        var header = unsafe MutableRawSpan(_unsafeStart: block, byteCount: SendVector.headerStride)
        guard let segment = segmenter.next(batch.bytes(of: frame), header: &header) else { return false }
        let length =
            edit == .keep
            ? segment.headerLength : unsafe SendVector.apply(edit, to: block, segment.headerLength, vlan: frame.vlan)
        unsafe append(
            block, length, batch.address(at: Int(frame.offset) + segment.payloadOffset), segment.payloadLength)
        return true
    }

    /// Puts a tag into the headers at `block`, or takes it out. Returns their new length.
    @usableFromInline
    static func apply(_ edit: TagEdit, to block: UnsafeMutableRawPointer, _ length: Int, vlan: UInt16) -> Int {
        switch edit {
        case .keep:
            return length
        case .insert:
            unsafe (block + 16).copyMemory(from: block + 12, byteCount: length - 12)
            write(vlan, to: unsafe MutableRawSpan(_unsafeStart: block, byteCount: 16))
            return length + VLANTag.length
        case .strip:
            unsafe (block + 12).copyMemory(from: block + 16, byteCount: length - 16)
            return length - VLANTag.length
        }
    }

    private static func write(_ vlan: UInt16, to header: consuming MutableRawSpan) {
        VLANTag(protocolIdentifier: EtherType.vlan, control: vlan).emit(into: &header, at: 12)
    }

    /// Appends a message of two pieces.
    @unsafe
    @usableFromInline
    mutating func append(
        _ first: UnsafeMutableRawPointer, _ firstLength: Int, _ second: UnsafeMutableRawPointer, _ secondLength: Int
    ) {
        precondition(count < SendVector.capacity)
        let piece = unsafe pieces + 2 * count
        unsafe piece[0] = iovec(iov_base: first, iov_len: firstLength)
        unsafe piece[1] = iovec(iov_base: second, iov_len: secondLength)
        unsafe platform_message_set(messages + count, piece, 2)
        count &+= 1
    }

    /// Bytes of message `index`.
    @inlinable
    package func length(of index: Int) -> Int {
        precondition(index >= 0 && index < count)
        let header = unsafe messages[index].header
        return unsafe header.msg_iov[0].iov_len + (header.msg_iovlen > 1 ? header.msg_iov[1].iov_len : 0)
    }

    /// How many pieces message `index` has.
    package func pieceCount(of index: Int) -> Int {
        precondition(index >= 0 && index < count)
        return Int(unsafe messages[index].header.msg_iovlen)
    }

    @unsafe
    package func piece(_ piece: Int, of index: Int) -> iovec {
        precondition(index >= 0 && index < count)
        return unsafe messages[index].header.msg_iov[piece]
    }

    /// Copies message `index` to `destination`, which has room for `length(of:)` bytes.
    @unsafe
    package func copy(_ index: Int, to destination: UnsafeMutableRawPointer) {
        precondition(index >= 0 && index < count)
        let header = unsafe messages[index].header
        var offset = 0
        for piece in 0..<Int(unsafe header.msg_iovlen) {
            let part = unsafe header.msg_iov[piece]
            unsafe (destination + offset).copyMemory(from: part.iov_base, byteCount: part.iov_len)
            unsafe offset += part.iov_len
        }
    }

    /// Hands the messages from `first` on to `device`, each of which must be in one piece.
    /// - Returns: how many were taken, and the positive errno that stopped the next one, 0 if all went.
    package func send(to device: FrameDevice, from first: Int = 0) -> (sent: Int, error: Int32) {
        let taken = unsafe device.send(pieces + 2 * first, stride: 2, count - first)
        if taken < 0 { return (0, Int32(-taken)) }
        return (taken, taken < count - first ? Errno.noBuffers : 0)
    }

    /// Sends the messages from `first` on to the connected datagram socket `fd`.
    /// - Returns: how many were taken, and the positive errno that stopped the next one, 0 if all went.
    @inlinable
    package func send(to fd: Int32, from first: Int = 0) -> (sent: Int, error: Int32) {
        var sent = 0
        while first &+ sent < count {
            let result = unsafe platform_send_batch(fd, messages + first + sent, UInt32(count &- first &- sent))
            if result < 0 {
                // A signal is not an obstacle.
                if result == -Errno.interrupted { continue }
                return (sent, -result)
            }
            sent &+= Int(result)
        }
        return (sent, 0)
    }
}
