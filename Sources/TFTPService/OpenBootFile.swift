// SPDX-License-Identifier: Apache-2.0
import Platform

/// A regular file that is open for reading.
package final class OpenBootFile: TFTPFile {
    private let descriptor: Descriptor
    package let size: Int

    /// Takes over the descriptor.
    init(_ descriptor: consuming Descriptor, size: Int) {
        self.descriptor = descriptor
        self.size = size
    }

    package func read(at offset: Int, count: Int) -> [UInt8]? { try? descriptor.read(at: offset, count: count) }
}
