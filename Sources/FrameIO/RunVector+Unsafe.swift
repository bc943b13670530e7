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

// A run of TCP segments that is written as one super-frame: new headers, then the segments' payloads from where they
// lie.

extension SendVector {
    /// Takes the payload of a run's first frame. What the vector held is gone.
    package mutating func beginRun(_ frame: FrameDescriptor, of batch: borrowing FrameBatch, headerLength: Int) {
        removeAll()
        runPieces = 1
        extendRun(frame, of: batch, headerLength: headerLength)
    }

    /// Takes the payload of the next frame.
    package mutating func extendRun(_ frame: FrameDescriptor, of batch: borrowing FrameBatch, headerLength: Int) {
        precondition(runPieces < 2 * SendVector.capacity && Int(frame.length) >= headerLength)
        let address = unsafe batch.address(at: Int(frame.offset) + headerLength)
        unsafe pieces[runPieces] = iovec(iov_base: address, iov_len: Int(frame.length) - headerLength)
        runPieces += 1
    }

    /// Puts the headers in front, a virtio header first.
    package mutating func finishRun(_ run: Coalescer, head: FrameDescriptor, of batch: borrowing FrameBatch) {
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

    /// Hands the finished run to a device. Returns 0 or a positive errno.
    package func sendRun(to device: FrameDevice) -> Int32 { unsafe device.sendPieces(pieces, runPieces) }
}

extension FrameDevice {
    /// Hands over frame `index` of `batch`, behind its virtio header. Returns 0 or a positive errno.
    package func send(_ index: Int, of batch: inout FrameBatch) -> Int32 {
        batch.prependHeader(to: index, length: headerLength)
        let frame = batch[index]
        var piece = unsafe iovec(
            iov_base: batch.address(at: Int(frame.offset) - headerLength), iov_len: Int(frame.length) + headerLength)
        return unsafe sendPieces(&piece, 1)
    }
}
