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

/// Frames gathered for one receiver, each in one piece or as headers and payload, to be sent many in a system call.
/// Holds addresses of memory that must stay in place until `removeAll`.
@safe
@usableFromInline
package struct SendVector: ~Copyable {
    /// Messages that fit.
    @usableFromInline package static let capacity = 128
    @usableFromInline static let headerStride = (Segmenter.maximumHeaderLength + VLANTag.length + 63) / 64 * 64

    @usableFromInline let messages: UnsafeMutablePointer<platform_message>
    @usableFromInline let pieces: UnsafeMutablePointer<iovec>
    /// Room for the headers that a segmenter writes, one block for each message.
    @usableFromInline let headers: UnsafeMutableRawPointer
    @usableFromInline package private(set) var count = 0
    /// The first piece that no message uses. A message has two, or those of a run.
    @usableFromInline private(set) var nextPiece = 0
    /// The first piece of the run that is being gathered, and how many it has.
    private var runStart = 0
    private var runPieces = 0

    /// An empty vector.
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

    /// Whether no more message fits.
    @inlinable
    package var isFull: Bool { count == SendVector.capacity || nextPiece > 2 * SendVector.capacity - 2 }

    /// Whether a run of so many frames fits as one more message.
    package func hasRoom(forRunOf frames: Int) -> Bool {
        count < SendVector.capacity && nextPiece + frames + 1 <= 2 * SendVector.capacity
    }

    /// Removes all messages, and with them the addresses of their memory.
    @inlinable
    package mutating func removeAll() {
        count = 0
        nextPiece = 0
    }

    /// Appends `length` bytes at `address`.
    @unsafe
    @inlinable
    package mutating func append(_ address: UnsafeMutableRawPointer, length: Int) {
        precondition(!isFull)
        let piece = unsafe pieces + nextPiece
        unsafe piece.pointee = iovec(iov_base: address, iov_len: length)
        unsafe platform_message_set(messages + count, piece, 1)
        count &+= 1
        nextPiece &+= 2
    }

    /// Appends a whole frame of `batch`.
    @inlinable
    package mutating func append(frame: FrameDescriptor, of batch: borrowing FrameBatch) {
        unsafe append(batch.address(at: Int(frame.offset)), length: Int(frame.length))
    }

    /// Appends a frame of `batch` with its VLAN tag inserted or removed on the way; the frame itself stays as it is.
    package mutating func append(frame: FrameDescriptor, of batch: borrowing FrameBatch, edit: TagEdit) {
        let shortest = edit == .strip ? EthernetHeader.taggedLength : EthernetHeader.length
        precondition(count < SendVector.capacity && Int(frame.length) >= shortest)
        let block = unsafe headers + count * SendVector.headerStride
        // The addresses, and the tag if it is removed.
        let copied = edit == .strip ? SendVector.taggedAddressesLength : SendVector.addressesLength
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

    /// Bytes of the two addresses, which stand before the tag; and with the tag.
    private static var addressesLength: Int { EthernetHeader.Field.type }
    private static var taggedAddressesLength: Int { EthernetHeader.Field.type + VLANTag.length }

    /// Inserts a tag into the headers at `block`, or removes it. Returns their new length.
    @usableFromInline
    static func apply(_ edit: TagEdit, to block: UnsafeMutableRawPointer, _ length: Int, vlan: UInt16) -> Int {
        switch edit {
        case .keep:
            return length
        case .insert:
            unsafe (block + taggedAddressesLength).copyMemory(
                from: block + addressesLength, byteCount: length - addressesLength)
            write(vlan, to: unsafe MutableRawSpan(_unsafeStart: block, byteCount: taggedAddressesLength))
            return length + VLANTag.length
        case .strip:
            unsafe (block + addressesLength).copyMemory(
                from: block + taggedAddressesLength, byteCount: length - taggedAddressesLength)
            return length - VLANTag.length
        }
    }

    private static func write(_ vlan: UInt16, to header: consuming MutableRawSpan) {
        VLANTag(protocolIdentifier: EtherType.vlan, control: vlan).emit(into: &header, at: EthernetHeader.Field.type)
    }

    /// Appends a message of two pieces.
    @unsafe
    @usableFromInline
    mutating func append(
        _ first: UnsafeMutableRawPointer, _ firstLength: Int, _ second: UnsafeMutableRawPointer, _ secondLength: Int
    ) {
        precondition(!isFull)
        let piece = unsafe pieces + nextPiece
        unsafe piece[0] = iovec(iov_base: first, iov_len: firstLength)
        unsafe piece[1] = iovec(iov_base: second, iov_len: secondLength)
        unsafe platform_message_set(messages + count, piece, 2)
        count &+= 1
        nextPiece &+= 2
    }

    /// Bytes of message `index`.
    @inlinable
    package func length(of index: Int) -> Int {
        precondition(index >= 0 && index < count)
        let header = unsafe messages[index].header
        let length = unsafe header.msg_iov[0].iov_len + (header.msg_iovlen > 1 ? header.msg_iov[1].iov_len : 0)
        return unsafe header.msg_iovlen > 2 ? length + lengthOfRun(index) : length
    }

    /// Bytes of a message after its first two pieces.
    @usableFromInline
    func lengthOfRun(_ index: Int) -> Int {
        let header = unsafe messages[index].header
        var length = 0
        for piece in 2..<Int(unsafe header.msg_iovlen) { length += unsafe header.msg_iov[piece].iov_len }
        return length
    }

    /// How many pieces message `index` has.
    package func pieceCount(of index: Int) -> Int {
        precondition(index >= 0 && index < count)
        return Int(unsafe messages[index].header.msg_iovlen)
    }

    /// One piece of message `index`; valid as long as the memory that was appended.
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

    /// Sends the messages from `first` on to `device`, each of which must be in one piece and none a run.
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
                // By a signal: nothing is wrong.
                if result == -Errno.interrupted { continue }
                return (sent, -result)
            }
            sent &+= Int(result)
        }
        return (sent, 0)
    }
}

// MARK: - Runs

// A run of TCP segments is written as one frame: new headers, then the segments' payloads from where they lie. To a
// TAP, it is written alone, after a virtio header. To a socket, it is a message among others.
extension SendVector {
    /// Begins a run after the messages, with the payload of its first frame.
    package mutating func beginRun(_ frame: FrameDescriptor, of batch: borrowing FrameBatch, headerLength: Int) {
        (runStart, runPieces) = (nextPiece, 1)
        extendRun(frame, of: batch, headerLength: headerLength)
    }

    /// Appends the payload of the next frame.
    package mutating func extendRun(_ frame: FrameDescriptor, of batch: borrowing FrameBatch, headerLength: Int) {
        precondition(runStart + runPieces < 2 * SendVector.capacity && Int(frame.length) >= headerLength)
        let address = unsafe batch.address(at: Int(frame.offset) + headerLength)
        unsafe pieces[runStart + runPieces] = iovec(iov_base: address, iov_len: Int(frame.length) - headerLength)
        runPieces += 1
    }

    /// Puts the headers in front, with a complete checksum, and appends the run as a message.
    /// - Parameter payload: the sum over the payloads of its frames.
    package mutating func finishMessage(
        _ run: Coalescer, payload: InternetChecksum, head: FrameDescriptor, of batch: borrowing FrameBatch
    ) {
        precondition(count < SendVector.capacity)
        let block = unsafe headers + count * SendVector.headerStride
        var header = unsafe MutableRawSpan(_unsafeStart: block, byteCount: Coalescer.maximumHeaderLength)
        run.emit(batch.bytes(of: head), payload: payload, into: &header)
        unsafe pieces[runStart] = iovec(iov_base: block, iov_len: run.headerLength)
        unsafe platform_message_set(messages + count, pieces + runStart, Int32(runPieces))
        count += 1
        nextPiece = runStart + (runPieces + 1) & ~1
    }

    /// Puts the headers in front, a virtio header first. The vector has no messages.
    package mutating func finishRun(_ run: Coalescer, head: FrameDescriptor, of batch: borrowing FrameBatch) {
        precondition(count == 0 && runStart == 0)
        let length = VirtioNetHeader.length
        var header = unsafe MutableRawSpan(_unsafeStart: headers + length, byteCount: Coalescer.maximumHeaderLength)
        let offload = run.emit(batch.bytes(of: head), into: &header)
        var virtio = unsafe MutableRawSpan(_unsafeStart: headers, byteCount: length)
        offload.emit(into: &virtio)
        unsafe pieces[0] = iovec(iov_base: headers, iov_len: length + run.headerLength)
    }

    /// Writes the finished run to the TAP `fd`. Returns 0 or a positive errno.
    package func writeRun(to fd: Int32) -> Int32 {
        while unsafe writev(fd, pieces, Int32(runPieces)) < 0 {
            if Errno.last != EINTR { return Errno.last }
        }
        return 0
    }

    /// Sends the finished run to a device. Returns 0 or a positive errno.
    package func sendRun(to device: FrameDevice) -> Int32 { unsafe device.sendPieces(pieces, runPieces) }
}
