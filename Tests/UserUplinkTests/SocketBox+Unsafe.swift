// SPDX-License-Identifier: Apache-2.0
import Platform

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

extension SocketBox {
    /// Sends datagrams without UDP checksums from now on (Linux, SO_NO_CHECK).
    func leaveChecksumsOut() {
        #if os(Linux)
            var isOn: Int32 = 1
            _ = unsafe setsockopt(socket.raw, SOL_SOCKET, SO_NO_CHECK, &isOn, socklen_t(MemoryLayout<Int32>.size))
        #endif
    }

    /// The index of the interface that the socket is bound to; 0 if it is bound to none.
    var boundInterface: UInt32 {
        var index: UInt32 = 0, length = socklen_t(MemoryLayout<UInt32>.size)
        #if os(Linux)
            _ = unsafe getsockopt(socket.raw, SOL_SOCKET, SO_BINDTOIFINDEX, &index, &length)
        #else
            if unsafe getsockopt(socket.raw, IPPROTO_IPV6, IPV6_BOUND_IF, &index, &length) != 0 {
                _ = unsafe getsockopt(socket.raw, IPPROTO_IP, IP_BOUND_IF, &index, &length)
            }
        #endif
        return index
    }
}
