// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// A network stack in this process that is a device of the switch, such as the user-mode NAT.
///
/// Workers append guests' frames to its inbox and poll it; it injects its own frames (`FrameInjector`) during a poll.
/// Frames in both directions begin with a virtio header, and may be GSO frames.
package protocol PolledDevice: AnyObject, Sendable {
    /// Frames of guests. Workers append to it under the port's lock; the device removes them during a poll.
    var inbox: SPSCFrameRing { get }

    /// Whether consecutive TCP segments are coalesced into one GSO frame for the device.
    var coalescesSegments: Bool { get }

    /// Does a bounded amount of the work that there is: called after the device was attached, after frames were sent
    /// to it, and when the port's descriptor became readable. The caller holds the switch's shared lock.
    /// - Parameter isReadable: the port's descriptor is readable.
    /// - Returns: when the next poll is due if nothing happens before; `distantFuture` for never.
    func poll(isReadable: Bool) -> Instant
}
