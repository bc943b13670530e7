// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform

/// The address for datagrams that are sent through a socket that is not connected.
@safe
package struct DatagramDestination: ~Copyable {
    private let address: UnsafeMutableRawPointer
    private let length: Int

    /// Returns nil for a path that is too long for an address.
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

    /// Has a datagram socket report its senders' users. Returns whether the system can.
    @discardableResult
    package func reportSenders() -> Bool { platform_report_senders(raw) != 0 }

    /// A handle of the socket that `path` names now, which must belong to `owner` (0: any user). Nil if the system has
    /// no such handles.
    package static func peerHandle(_ path: [UInt8], owner: UInt32) throws(SystemError) -> Descriptor? {
        let result = unsafe path.withUnsafeBufferPointer { unsafe platform_unix_pin($0.baseAddress, $0.count, owner) }
        if result == -Errno.notSupported { return nil }
        return Descriptor(adopting: try SystemError.check(result, "use", String(decoding: path, as: UTF8.self)))
    }
}
