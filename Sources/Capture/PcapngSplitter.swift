// SPDX-License-Identifier: Apache-2.0

/// Splits a stream of pcapng into whole blocks, so that a file ends after a block whenever the stream ends; counts the
/// frames, and reads the counters of interfaces. The stream has the byte order of `PcapngWriter`.
package struct PcapngSplitter: Sendable {
    /// The stream is no pcapng.
    package struct Malformed: Error, Equatable {}

    /// Received bytes that are no whole block yet.
    private var rest: [UInt8] = []
    private var hasHeader = false
    /// Frames in the blocks so far.
    package private(set) var frames = 0
    /// The last counters of each interface.
    package private(set) var statistics: [UInt32: CaptureStatistics] = [:]

    /// A splitter at the start of a stream.
    package init() {}

    /// Takes the next bytes of the stream. Returns the blocks that are whole now.
    /// - Throws: if the bytes are no pcapng. What was returned before is.
    package mutating func append(_ bytes: [UInt8]) throws(Malformed) -> [UInt8] {
        rest += bytes
        var end = 0
        while rest.count - end >= 8 {
            let type = Self.little32(rest, end), length = Int(Self.little32(rest, end + 4))
            guard length >= Pcapng.smallestBlock, length <= Pcapng.largestBlock, length % 4 == 0,
                hasHeader || type == Pcapng.BlockType.sectionHeader
            else { throw Malformed() }
            guard rest.count - end >= length else { break }
            guard Self.little32(rest, end + length - 4) == UInt32(length) else { throw Malformed() }
            hasHeader = true
            note(type, end + 8..<end + length - 4)
            end += length
        }
        let whole = Array(rest[..<end])
        rest.removeFirst(end)
        return whole
    }

    /// Frames that the capture has lost, by the counters so far.
    package var lost: UInt64 { statistics.values.reduce(0) { $0 &+ $1.lost } }

    private mutating func note(_ type: UInt32, _ body: Range<Int>) {
        if type == Pcapng.BlockType.enhancedPacket { frames += 1 }
        guard type == Pcapng.BlockType.interfaceStatistics, body.count >= 12 else { return }
        var found = CaptureStatistics(interface: Self.little32(rest, body.lowerBound), received: 0, lost: 0)
        var position = body.lowerBound + 12
        while body.upperBound - position >= 4 {
            let header = Self.little32(rest, position), length = Int(header >> 16)
            let code = UInt16(truncatingIfNeeded: header)
            position += 4
            guard code != Pcapng.Option.end, body.upperBound - position >= length else { break }
            if length == 8 {
                let value = UInt64(Self.little32(rest, position)) | UInt64(Self.little32(rest, position + 4)) << 32
                if code == Pcapng.Option.receivedFrames { found.received = value }
                if code == Pcapng.Option.lostFrames { found.lost = value }
            }
            position += (length + 3) & ~3
        }
        // A stream has an interface for each port that frames passed.
        if statistics.count < 65_536 || statistics[found.interface] != nil { statistics[found.interface] = found }
    }

    private static func little32(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
        UInt32(bytes[offset]) | UInt32(bytes[offset + 1]) << 8 | UInt32(bytes[offset + 2]) << 16
            | UInt32(bytes[offset + 3]) << 24
    }
}
