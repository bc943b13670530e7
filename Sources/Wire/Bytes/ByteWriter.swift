// SPDX-License-Identifier: Apache-2.0

/// Builds a packet byte by byte. For the slow path (DHCP, ARP, DNS, `check`): it owns an array and may allocate.
package struct ByteWriter: Sendable {
    /// What was written.
    package private(set) var bytes: [UInt8] = []

    /// - Parameter capacity: bytes to reserve; more may be written.
    package init(capacity: Int = 512) { bytes.reserveCapacity(capacity) }

    /// Bytes written so far.
    package var count: Int { bytes.count }

    /// Appends a byte.
    package mutating func put8(_ value: UInt8) { bytes.append(value) }

    /// Appends a 16-bit integer in big-endian order.
    package mutating func put16(_ value: UInt16) {
        bytes.append(UInt8(value >> 8))
        bytes.append(UInt8(truncatingIfNeeded: value))
    }

    /// Appends a 32-bit integer in big-endian order.
    package mutating func put32(_ value: UInt32) {
        put16(UInt16(value >> 16))
        put16(UInt16(truncatingIfNeeded: value))
    }

    /// Appends six bytes.
    package mutating func put(_ value: MACAddress) {
        put16(UInt16(truncatingIfNeeded: value.value >> 32))
        put32(UInt32(truncatingIfNeeded: value.value))
    }

    /// Appends four bytes in network order.
    package mutating func put(_ value: IPv4Address) { put32(value.value) }

    /// Appends bytes.
    package mutating func put(_ source: some Sequence<UInt8>) { bytes.append(contentsOf: source) }

    /// Appends `count` zero bytes.
    package mutating func putZeros(_ count: Int) { bytes.append(contentsOf: repeatElement(0, count: count)) }

    /// Appends sixteen bytes in network order.
    package mutating func put(_ value: IPv6Address) {
        put32(UInt32(truncatingIfNeeded: value.high >> 32))
        put32(UInt32(truncatingIfNeeded: value.high))
        put32(UInt32(truncatingIfNeeded: value.low >> 32))
        put32(UInt32(truncatingIfNeeded: value.low))
    }

    /// Appends `length` zero bytes and lets `body` write them.
    mutating func emit(length: Int, _ body: (inout MutableRawSpan) -> Void) {
        let start = bytes.count
        putZeros(length)
        bytes.withMutableRawSpan { span in
            var header = span.mutableFrom(start)
            body(&header)
        }
    }

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
