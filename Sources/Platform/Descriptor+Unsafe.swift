// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

extension Descriptor {
    /// Reads once, up to `limit` bytes; empty at the end of the file.
    package func read(limit: Int) throws(SystemError) -> [UInt8] {
        var failure: Int32 = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            let received = Self.retrying { unsafe systemRead(raw, buffer.baseAddress!, limit) }
            failure = received < 0 ? Errno.last : 0
            count = max(0, received)
        }
        if failure != 0 { throw SystemError(code: failure, "read") }
        return bytes
    }

    /// Reads to the end of the file, or `limit` bytes.
    package func readAll(limit: Int = 16 << 20) throws(SystemError) -> [UInt8] {
        var all: [UInt8] = []
        while all.count < limit {
            let piece = try read(limit: min(65536, limit - all.count))
            if piece.isEmpty { break }
            all += piece
        }
        return all
    }

    /// Writes all of `bytes`, waiting where the descriptor blocks.
    package func write(_ bytes: [UInt8]) throws(SystemError) {
        var offset = 0
        while offset < bytes.count {
            let written = unsafe bytes.withUnsafeBytes { buffer in
                Self.retrying { unsafe systemWrite(raw, buffer.baseAddress! + offset, bytes.count - offset) }
            }
            if written < 0 { throw SystemError(code: Errno.last, "write") }
            offset += written
        }
    }

    private static func retrying(_ call: () -> Int) -> Int {
        while true {
            let result = call()
            if result >= 0 || Errno.last != EINTR { return result }
        }
    }
}
