// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// Detects two ports that are connected to each other outside the switch, by a second cable between two switches or by
/// a guest that bridges its interfaces.
///
/// In such a loop broadcasts circle for ever, and every address seems to move between the two ports. Spanning tree
/// (802.1Q clause 13) needs both ends to take part; this detector needs nothing of them. If many addresses move within
/// a second, a probe with a random token goes out of every port. A probe that comes in again names both ends of the
/// loop, and the port at which it came in is blocked for a while. Only stations behind a port see its token, so a guest
/// that forges a loop blocks only its own port.
@usableFromInline
struct LoopDetector {
    /// Moves of addresses within one second that look like a loop. A guest that fails over moves a handful.
    static let moveThreshold = 64
    /// The time in which a probe through a blocked port comes back if the loop is still there.
    static let probeTimeout = TimeAmount.seconds(1)
    /// IEEE 802 local experimental EtherType 1.
    @inlinable static var etherType: UInt16 { 0x88b5 }
    /// A locally administered group address: unlike 01:80:c2:00:00:xx, bridges forward it.
    private static let destination = MACAddress(0x0356_4445_0001)
    static let source = MACAddress(0x0256_4445_0001)
    private static let label = Array("vde_vmnet loop probe".utf8)
    private static let portOffset = label.count
    private static let tokenOffset = portOffset + 2
    private static let length = tokenOffset + 8

    private var second = CoarseInstant.distantPast
    private var moves = 0
    private var lastRound = CoarseInstant.distantFuture
    /// The token that was last sent out of each port.
    private var tokens: [PortNumber: UInt64] = [:]

    /// Counts an address that has moved. Returns true if probes are to be sent now.
    mutating func addressMoved(now: CoarseInstant) -> Bool {
        if second != now { (second, moves) = (now, 0) }
        moves += 1
        guard moves == LoopDetector.moveThreshold, lastRound != now else { return false }
        lastRound = now
        return true
    }

    /// A probe to be sent out of `port`, with a new token.
    mutating func probe(for port: PortNumber) -> [UInt8] {
        let token: UInt64 = Random.value()
        tokens[port] = token
        var writer = ByteWriter()
        EthernetHeader(destination: LoopDetector.destination, source: LoopDetector.source, type: LoopDetector.etherType)
            .emit(
                into: &writer)
        writer.put(LoopDetector.label)
        writer.put16(port)
        writer.put32(UInt32(truncatingIfNeeded: token >> 32))
        writer.put32(UInt32(truncatingIfNeeded: token))
        writer.putZeros(EthernetHeader.minimumFrame - writer.bytes.count)
        return writer.bytes
    }

    /// The port out of which this frame was sent, if it is a probe of this switch, whatever tags it was given on its
    /// way.
    /// - Parameter start: where its payload begins.
    func origin(of frame: RawSpan, at start: Int) -> PortNumber? {
        guard frame.byteCount >= start + LoopDetector.length else { return nil }
        for (index, byte) in LoopDetector.label.enumerated() where frame.byte(at: start + index) != byte { return nil }
        let port = frame.big16(at: start + LoopDetector.portOffset)
        return tokens[port] == frame.big64(at: start + LoopDetector.tokenOffset) ? port : nil
    }

    mutating func forget(_ port: PortNumber) { tokens[port] = nil }
}
