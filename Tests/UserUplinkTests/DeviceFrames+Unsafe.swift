// SPDX-License-Identifier: Apache-2.0
@testable import Platform

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

extension FrameDevice {
    /// Hands over a frame with its virtio header. Returns whether it was taken.
    func give(_ frame: [UInt8]) -> Bool {
        var frame = frame
        return unsafe frame.withUnsafeMutableBytes { bytes in
            var piece = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
            return unsafe send(&piece, stride: 1, 1) == 1
        }
    }

    /// Takes a frame with its virtio header; nil if there is none.
    func take() -> [UInt8]? {
        var frame = [UInt8](repeating: 0, count: 70_000)
        let length = unsafe frame.withUnsafeMutableBytes { bytes in
            var piece = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
            return unsafe receive(&piece, 1) == 1 ? piece.iov_len : 0
        }
        return length > 0 ? Array(frame[..<length]) : nil
    }
}
