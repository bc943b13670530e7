// SPDX-License-Identifier: Apache-2.0
import CLibrary

/// A pipe whose ends are closed one by one; -1 once closed.
final class PipeEnds {
    private(set) var reader: Int32
    private(set) var writer: Int32

    init() throws(SystemError) {
        let pair = try DescriptorPair.pipe()
        reader = try pair.first.duplicate().release()
        writer = try pair.second.duplicate().release()
    }

    deinit {
        closeReader()
        closeWriter()
    }

    func closeReader() {
        if reader >= 0 { _ = close(reader) }
        reader = -1
    }

    func closeWriter() {
        if writer >= 0 { _ = close(writer) }
        writer = -1
    }

    /// Reads what is there; closes the reader at the end.
    func drain(into bytes: inout [UInt8]) {
        let more = unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
            unsafe count = max(0, systemRead(reader, buffer.baseAddress, 65536))
        }
        bytes += more
        if more.isEmpty { closeReader() }
    }
}
