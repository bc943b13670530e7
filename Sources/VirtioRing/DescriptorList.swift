// SPDX-License-Identifier: Apache-2.0
import Platform

/// The descriptors that came with a message, closed unless they are taken.
package struct DescriptorList: ~Copyable {
    private var boxes: [Box<Descriptor>] = []

    /// None.
    package init() {}

    /// How many are left.
    package var count: Int { boxes.count }

    /// Takes over an open descriptor.
    package mutating func append(adopting raw: Int32) { boxes.append(Box(Descriptor(adopting: raw))) }

    /// The number of a descriptor, which stays this list's.
    package func raw(_ index: Int) -> Int32 { boxes[index].value.raw }

    /// Gives up the only descriptor; nil if there is none, or more than one.
    package mutating func takeOnly() -> Box<Descriptor>? { boxes.count == 1 ? boxes.removeLast() : nil }

    /// Closes all.
    package mutating func removeAll() { boxes.removeAll() }
}
