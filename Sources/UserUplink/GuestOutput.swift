// SPDX-License-Identifier: Apache-2.0
import Platform

/// Frames for guests, and the wake-up of who takes them. Appended to by one thread.
@safe
final class GuestOutput {
    /// So much is worth telling of at once: the other thread carries it on while this one makes more.
    private static let tellAfter = 60_000

    let ring: PacketRing
    let ready: Wakeup
    /// Bytes of which nobody was told yet.
    private var untold = 0

    /// - Parameter capacity: bytes; a power of two.
    init(capacity: Int) throws(SystemError) {
        ring = PacketRing(capacity: capacity)
        ready = try Wakeup()
    }

    /// Appends a frame of `length` bytes that `body` writes. Returns false, without calling it, if there is no room.
    func append(length: Int, _ body: (inout MutableRawSpan) -> Void) -> Bool {
        guard ring.append(length: length, body) else { return false }
        untold += length
        if untold >= GuestOutput.tellAfter { tell() }
        return true
    }

    /// Tells of what was appended.
    /// - Parameter isLast: nothing is to be done behind it. Otherwise, where the other thread waits for this one's processor, it goes first: guests wait for
    ///   what it does, nobody for what this one does next.
    func tell(isLast: Bool = false) {
        if untold == 0 { return }
        untold = 0
        ready.signal()
        if !isLast { WorkerThread.yield() }
    }
}
