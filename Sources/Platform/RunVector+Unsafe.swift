// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Frames
import Wire

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

// A run of TCP segments that is written as one super-frame: new headers, then the segments' payloads from where they lie.

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

    /// Writes the run to the TAP `fd`. Returns 0 or a positive errno.
    package mutating func write(_ run: Coalescer, head: FrameDescriptor, of batch: borrowing FrameBatch, to fd: Int32) -> Int32 {
        let length = VirtioNetHeader.length
        var header = unsafe MutableRawSpan(_unsafeStart: headers + length, byteCount: Coalescer.maximumHeaderLength)
        let offload = run.emit(batch.bytes(of: head), into: &header)
        var virtio = unsafe MutableRawSpan(_unsafeStart: headers, byteCount: length)
        offload.emit(into: &virtio)
        unsafe pieces[0] = iovec(iov_base: headers, iov_len: length + run.headerLength)
        while unsafe writev(fd, pieces, Int32(runPieces)) < 0 {
            if Errno.last != EINTR { return Errno.last }
        }
        return 0
    }
}
