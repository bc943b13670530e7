// SPDX-License-Identifier: Apache-2.0
import Atomics
import CLibrary
import CPlatform
import Capture
import FrameIO
import Platform
import Wire

/// The ports whose frames a capture records. Ports of services are not among them: their frames pass the ports of
/// guests as well.
package enum CaptureSelection: Equatable, Sendable {
    /// Every port.
    case all
    /// The ports to the outside.
    case uplinks
    /// The connections of one group (`PortConfiguration.group`).
    case group(UInt16)
    /// One connection.
    case port(PortNumber)
    /// No port, for now.
    case none

    /// Whether a port of this number, role and group is selected.
    package func contains(_ port: PortNumber, _ role: PortRole, group: UInt16) -> Bool {
        switch self {
        case .none: false
        case .all: true
        case .uplinks: role == .uplink
        case .group(let chosen): group == chosen && chosen != 0
        case .port(let chosen): port == chosen
        }
    }
}

/// A frame that a capture has recorded.
package struct CapturedFrame: Sendable {
    /// Nanoseconds since 1970.
    package var time: Int64
    /// Bytes of the whole frame.
    package var length: UInt32
    /// The port that it passed.
    package var port: PortNumber
    /// Which way.
    package var direction: CaptureDirection
    /// Why it was dropped there; nil if it was not.
    package var reason: DropReason?
}

/// Where workers put the frames of one capture, and a thread takes them. Its memory is allocated once: frames that do
/// not fit are counted as lost, so that a slow reader does not delay the switch.
@safe
package final class CaptureTap: @unchecked Sendable {
    /// Bytes of frames that wait for the reader.
    private static let capacity = 4 << 20
    /// In front of each frame: time, length, port, direction, reason.
    private static let header = 16
    private static let timeOffset = 0, factsOffset = 8
    private static let noReason: UInt8 = .max

    /// Bytes of each frame that are recorded.
    package let snapLength: Int
    private let filter: FilterProgram?
    /// Guards the producer's side of the ring, and the counters. Held for one frame; no other lock is taken meanwhile.
    private let lock = Lock()
    private let ring = SPSCFrameRing(capacity: CaptureTap.capacity)
    /// Frames that the filter has selected, and those of them that did not fit, for each port.
    private var selected = [UInt64](repeating: 0, count: SwitchControl.portCapacity)
    private var lost = [UInt64](repeating: 0, count: SwitchControl.portCapacity)
    /// Wakes the reader.
    package let wakeup: Wakeup
    /// The reader waits, or is about to.
    private let isReaderWaiting = ManagedAtomic<Bool>(false)

    /// - Parameters:
    ///   - filter: selects frames; nil for all.
    ///   - snapLength: bytes of each frame that are recorded, from the first one on.
    /// - Throws: if the process or the system has too many open files.
    package init(filter: FilterProgram?, snapLength: Int) throws(SystemError) {
        self.filter = filter
        self.snapLength = snapLength
        wakeup = try Wakeup()
    }

    // MARK: Workers

    /// Records a frame, if the filter selects it.
    func record(_ frame: RawSpan, _ captured: CapturedFrame) {
        var length = min(snapLength, frame.byteCount)
        if let filter {
            let selected = filter.run(frame)
            guard selected > 0 else { return }
            length = min(length, Int(selected))
        }
        lock.lock()
        selected[Int(captured.port)] &+= 1
        if !append(frame.extracting(0..<length), captured) { lost[Int(captured.port)] &+= 1 }
        lock.unlock()
        if isReaderWaiting.load(ordering: .sequentiallyConsistent),
            isReaderWaiting.exchange(false, ordering: .sequentiallyConsistent)
        {
            wakeup.signal()
        }
    }

    private func append(_ frame: RawSpan, _ captured: CapturedFrame) -> Bool {
        var header = (
            captured.time,
            UInt64(captured.length) | UInt64(captured.port) << 32 | UInt64(captured.direction.rawValue) << 48
                | UInt64(captured.reason.map { UInt8($0.rawValue) } ?? CaptureTap.noReason) << 56
        )
        return unsafe withUnsafeMutableBytes(of: &header) { head in
            unsafe frame.withUnsafeBytes { bytes in
                let pieces = unsafe (
                    iovec(iov_base: head.baseAddress, iov_len: head.count),
                    iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
                )
                return unsafe withUnsafeBytes(of: pieces) { raw in
                    let list = unsafe raw.bindMemory(to: iovec.self)
                    return unsafe ring.append(
                        UnsafeBufferPointer(rebasing: list[..<(bytes.isEmpty ? 1 : 2)]),
                        length: head.count + bytes.count)
                }
            }
        }
    }

    // MARK: The reader

    /// Calls `body` with the first recorded frame and the bytes that were recorded, and removes it. Returns false if
    /// there is none.
    package func removeFirst(_ body: (CapturedFrame, RawSpan) -> Void) -> Bool {
        ring.removeFirst { span in
            let word = span.bytes.native64(at: CaptureTap.factsOffset)
            let reason = UInt8(truncatingIfNeeded: word >> 56)
            let frame = CapturedFrame(
                time: Int64(bitPattern: span.bytes.native64(at: CaptureTap.timeOffset)),
                length: UInt32(truncatingIfNeeded: word),
                port: PortNumber(truncatingIfNeeded: word >> 32),
                direction: CaptureDirection(rawValue: UInt8(truncatingIfNeeded: word >> 48)) ?? .inbound,
                reason: reason == CaptureTap.noReason ? nil : DropReason(rawValue: Int(reason)))
            body(frame, span.bytes.from(CaptureTap.header))
            return true
        } ?? false
    }

    /// Has the next frame signal `wakeup`. Returns false if there are frames now.
    package func prepareToWait() -> Bool {
        wakeup.drain()
        isReaderWaiting.store(true, ordering: .sequentiallyConsistent)
        return !ring.hasFrames
    }

    /// The counters of a port: frames that were selected, and those of them that were lost.
    package func counters(of port: PortNumber) -> (selected: UInt64, lost: UInt64) {
        lock.lock()
        defer { lock.unlock() }
        return (selected[Int(port)], lost[Int(port)])
    }
}
