// SPDX-License-Identifier: Apache-2.0

/// The OPT record without its options (RFC 6891 section 6.1.2 and 6.1.3).
package struct ExtendedDNS: Equatable, Sendable {
    /// Bytes of the longest UDP message that is not fragmented on common paths (RFC 9715 section 3.1).
    package static let preferredPayload: UInt16 = 1232
    /// Bytes of the longest UDP message without EDNS (RFC 1035 section 4.2.1). Smaller sizes are read as this one (RFC
    /// 6891 section 6.2.3).
    package static let minimumPayload = 512

    /// Bytes of the record without options, and where its fields are after the root's name.
    private static let bareLength = 11, codeOffset = 5, dataLengthOffset = 9

    /// The DO bit of `codeAndFlags` (RFC 3225).
    private static let dnssecOK: UInt32 = 0x8000
    /// The upper bits of BADVERS (16) in `codeAndFlags`; the lower ones are 0 (RFC 6891 section 9).
    static let badVersion: UInt32 = 1 << 24

    /// Bytes of the longest UDP message that the sender accepts.
    package var payloadSize: UInt16
    /// Extended response code, version, and flags, of which DO is the highest bit of the lower half.
    package var codeAndFlags: UInt32

    /// The sender's version of EDNS; 0 is the only one.
    package var version: UInt8 { UInt8(truncatingIfNeeded: codeAndFlags >> 16) }

    /// A record without options.
    package init(payloadSize: UInt16, codeAndFlags: UInt32 = 0) {
        self.payloadSize = payloadSize
        self.codeAndFlags = codeAndFlags
    }

    /// The record for the response to this one: DO is copied (RFC 3225 section 3), the version is 0.
    package var reply: ExtendedDNS {
        ExtendedDNS(payloadSize: ExtendedDNS.preferredPayload, codeAndFlags: codeAndFlags & ExtendedDNS.dnssecOK)
    }

    /// The four bytes of code and flags of a record without options that is all of `bytes`; nil for anything else.
    package static func codeAndFlags(ofBare bytes: RawSpan) -> [UInt8]? {
        guard bytes.byteCount == bareLength, bytes.byte(at: 0) == 0, bytes.big16(at: 1) == DNSType.opt,
            bytes.big16(at: dataLengthOffset) == 0
        else { return nil }
        return bytes.extracting(codeOffset..<dataLengthOffset).copied()
    }

    /// Appends the record without options.
    package func emit(into writer: inout ByteWriter) {
        writer.put8(0)
        writer.put16(DNSType.opt)
        writer.put16(payloadSize)
        writer.put32(codeAndFlags)
        writer.put16(0)
    }
}
