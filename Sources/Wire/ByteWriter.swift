// SPDX-License-Identifier: Apache-2.0

/// Builds a packet byte by byte. For the slow path (DHCP, ARP, DNS, `check`): it owns an array and may allocate.
package struct ByteWriter: Sendable {
    package private(set) var bytes: [UInt8] = []

    package init(capacity: Int = 512) { bytes.reserveCapacity(capacity) }

    package var count: Int { bytes.count }

    package mutating func put8(_ value: UInt8) { bytes.append(value) }

    package mutating func put16(_ value: UInt16) {
        bytes.append(UInt8(value >> 8))
        bytes.append(UInt8(truncatingIfNeeded: value))
    }

    package mutating func put32(_ value: UInt32) {
        put16(UInt16(value >> 16))
        put16(UInt16(truncatingIfNeeded: value))
    }

    package mutating func put(_ value: MACAddress) {
        put16(UInt16(truncatingIfNeeded: value.value >> 32))
        put32(UInt32(truncatingIfNeeded: value.value))
    }

    package mutating func put(_ value: IPv4Address) { put32(value.value) }

    package mutating func put(_ source: some Sequence<UInt8>) { bytes.append(contentsOf: source) }

    package mutating func putZeros(_ count: Int) { bytes.append(contentsOf: repeatElement(0, count: count)) }

    /// Overwrites two bytes already written.
    package mutating func patch16(_ value: UInt16, at offset: Int) {
        bytes[offset] = UInt8(value >> 8)
        bytes[offset + 1] = UInt8(truncatingIfNeeded: value)
    }

    /// The Internet checksum of what was written from `offset` on, added to `initial`.
    package func checksum(from offset: Int, adding initial: InternetChecksum = InternetChecksum()) -> InternetChecksum {
        var sum = initial
        sum.add(bytes.rawSpan.from(offset))
        return sum
    }
}
