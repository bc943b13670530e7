// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

extension DescriptorPair {
    /// Both ends of a pipe, close-on-exec, blocking: `first` reads, `second` writes.
    package static func pipe() throws(SystemError) -> DescriptorPair {
        unsafe try make("pipe") { unsafe systemPipe($0) }
    }

    /// Two connected unix datagram sockets, non-blocking.
    package static func datagramSockets() throws(SystemError) -> DescriptorPair {
        let pair = unsafe try make("socketpair") { unsafe socketpair(AF_UNIX, Socket.datagramType, 0, $0) }
        pair.first.setNonBlocking()
        pair.second.setNonBlocking()
        return pair
    }

    /// Two connected unix stream sockets, non-blocking.
    package static func streamSockets() throws(SystemError) -> DescriptorPair {
        let pair = unsafe try make("socketpair") { unsafe socketpair(AF_UNIX, Socket.streamType, 0, $0) }
        pair.first.setNonBlocking()
        pair.second.setNonBlocking()
        return pair
    }

    /// Two connected unix sockets of sequenced packets, non-blocking, on a system that has them.
    package static func sequencedPacketSockets() throws(SystemError) -> DescriptorPair {
        let pair = unsafe try make("socketpair") { unsafe socketpair(AF_UNIX, Socket.sequencedPacketType, 0, $0) }
        pair.first.setNonBlocking()
        pair.second.setNonBlocking()
        return pair
    }

    private static func make(
        _ name: String, _ call: (UnsafeMutablePointer<Int32>) -> Int32
    ) throws(SystemError) -> DescriptorPair {
        var ends: (Int32, Int32) = (-1, -1)
        let result = unsafe withUnsafeMutableBytes(of: &ends) {
            unsafe call($0.assumingMemoryBound(to: Int32.self).baseAddress!)
        }
        try SystemError.checkErrno(result, name)
        _ = platform_fcntl(ends.0, F_SETFD, FD_CLOEXEC)
        _ = platform_fcntl(ends.1, F_SETFD, FD_CLOEXEC)
        return DescriptorPair(ends)
    }
}
