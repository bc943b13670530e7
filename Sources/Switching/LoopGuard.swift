// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Finds two ports that are connected to each other outside, by a second cable between two switches or by a guest that
/// bridges its cards.
///
/// In such a loop broadcasts circle for ever, and every address seems to move between the two ports all the time. Where
/// many move in a second, a probe with a random token goes out of every port. One that comes in again names both ends
/// of the loop, and the port at which it came in is closed for a while. A token is known only to those behind the port
/// that it was sent out of: who forges a loop closes nobody's port but his own.
@usableFromInline
struct LoopGuard {
    /// Moves of addresses within one second that look like a loop. A guest that fails over moves a handful.
    static let suspiciousMoves = 64
    /// How long an answer to a trial is waited for, in seconds.
    static let trial: UInt32 = 1
    /// IEEE 802 local experimental EtherType 1.
    @inlinable static var etherType: UInt16 { 0x88b5 }
    /// A locally administered group address: unlike 01:80:c2:00:00:xx, bridges forward it.
    private static let destination = MACAddress(0x0356_4445_0001)
    static let source = MACAddress(0x0256_4445_0001)
    private static let label = Array("vde_vmnet loop probe".utf8)
    private static let portOffset = label.count
    private static let tokenOffset = portOffset + 2

    private var second: UInt32 = 0
    private var moves = 0
    private var lastRound: UInt32 = .max
    /// The token that was last sent out of each port.
    private var tokens: [PortNumber: UInt64] = [:]

    /// Notes that an address has moved. Returns true when it is time to send probes.
    mutating func addressMoved(now: UInt32) -> Bool {
        if second != now { (second, moves) = (now, 0) }
        moves += 1
        guard moves == LoopGuard.suspiciousMoves, lastRound != now else { return false }
        lastRound = now
        return true
    }

    /// A probe to be sent out of `port`, with a new token.
    mutating func probe(for port: PortNumber) -> [UInt8] {
        let token: UInt64 = Random.value()
        tokens[port] = token
        var writer = ByteWriter()
        EthernetHeader(destination: LoopGuard.destination, source: LoopGuard.source, type: LoopGuard.etherType).emit(
            into: &writer)
        writer.put(LoopGuard.label)
        writer.put16(port)
        writer.put32(UInt32(truncatingIfNeeded: token >> 32))
        writer.put32(UInt32(truncatingIfNeeded: token))
        writer.putZeros(60 - writer.bytes.count)
        return writer.bytes
    }

    /// The port out of which this frame was sent, if it is a probe of ours, whatever tags it has got on its way.
    /// - Parameter start: where its payload begins.
    func origin(of frame: RawSpan, at start: Int) -> PortNumber? {
        guard frame.byteCount >= start + LoopGuard.tokenOffset + 8 else { return nil }
        for (index, byte) in LoopGuard.label.enumerated() where frame.byte(at: start + index) != byte { return nil }
        let port = frame.big16(at: start + LoopGuard.portOffset)
        return tokens[port] == frame.big64(at: start + LoopGuard.tokenOffset) ? port : nil
    }

    mutating func forget(_ port: PortNumber) { tokens[port] = nil }
}
