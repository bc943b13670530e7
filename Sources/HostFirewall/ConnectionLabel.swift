// SPDX-License-Identifier: Apache-2.0

/// The bits of a conntrack label that this program uses. Labels have 128 bits; other programs, such as Open vSwitch,
/// use the lower ones.
enum ConnectionLabel {
    /// A pin has opened the connection.
    static let pins: ClosedRange<UInt8> = 64...94
    /// The connection passes a TAP: two digits of its index, each with 16 bits, of which one is set.
    private static let tap: UInt8 = 95
    private static let base: UInt32 = 16
    /// The policy has refused the connection.
    static let refused: UInt8 = 127

    /// The bits of a TAP. Those of another one differ, unless its index is a multiple of 256 away.
    static func bits(ofTAP index: UInt32) -> [UInt8] {
        [index % base, base + index / base % base].map { tap + UInt8($0) }
    }
}
