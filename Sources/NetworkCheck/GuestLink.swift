// SPDX-License-Identifier: Apache-2.0
import Timing

/// Sends and receives Ethernet frames, as a guest's network card does.
package protocol GuestLink {
    /// Sends a frame; it may be lost.
    func send(_ frame: [UInt8])
    /// The next frame; nil if `deadline` passes first.
    func receive(until deadline: Instant) -> [UInt8]?
}
