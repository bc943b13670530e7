// SPDX-License-Identifier: Apache-2.0

/// Two descriptors that belong together: the ends of a pipe (reading, writing) or of a socket pair.
package struct DescriptorPair: ~Copyable {
    /// The reading end of a pipe.
    package var first: Descriptor
    /// The writing end of a pipe.
    package var second: Descriptor

    init(_ ends: (Int32, Int32)) {
        first = Descriptor(adopting: ends.0)
        second = Descriptor(adopting: ends.1)
    }
}
