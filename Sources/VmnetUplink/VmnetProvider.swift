// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Timing
import Uplink

/// A started vmnet interface. It is stopped when it is released.
package protocol VmnetInterface: AnyObject, Sendable {
    /// The properties that vmnet has chosen.
    var parameters: UplinkParameters { get }
    /// The device for a port of the switch. Must not be used after `stop`.
    var device: FrameDevice { get }
    /// A duplicate of the descriptor that becomes readable when frames arrive. The caller owns it.
    func wakeupDescriptor() throws(SystemError) -> Descriptor
    /// Stops the interface, and waits until it has stopped.
    func stop() throws(VmnetError)
}

/// vmnet.framework, or a simulation of it.
package protocol VmnetProvider: Sendable {
    /// Starts an interface, and waits until it has started. This may take seconds.
    func start(_ options: VmnetOptions) throws(VmnetError) -> any VmnetInterface
    /// The physical interfaces that can be bridged.
    func bridgeableInterfaces() -> [String]
    /// Whether vmnet supports virtio headers (macOS 15.4).
    var hasVirtioHeaders: Bool { get }
    /// Whether vmnet supports network objects (macOS 26).
    var hasNetworkObjects: Bool { get }
    /// Whether the service that vmnet calls is registered. Early at boot it is not, and starts fail.
    var isServiceRegistered: Bool { get }
    /// How long the host has slept since it was started: only differences are meaningful.
    var timeAsleep: TimeAmount { get }
}

extension VmnetProvider {
    package var timeAsleep: TimeAmount { BootClock.asleep }
}
