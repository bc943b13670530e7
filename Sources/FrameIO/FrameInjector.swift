// SPDX-License-Identifier: Apache-2.0
import Wire

/// The port by which a sender's frames come in.
package struct FrameOrigin: Equatable, Sendable {
    /// The port's number.
    package let port: UInt16
    /// Further senders may be behind it.
    package let isShared: Bool

    package init(port: UInt16, isShared: Bool) {
        self.port = port
        self.isShared = isShared
    }
}

/// Through which a device injects frames into the switch.
package protocol FrameInjector: AnyObject, Sendable {
    /// Takes the switch's topology lock, shared: no port comes or goes until `unlock`. Not for worker threads, which
    /// hold it when they poll a device.
    func lockShared()
    func unlock()
    /// Whether frames go anywhere. With the lock.
    var isAttached: Bool { get }
    /// Dispatches frames as if they had come in at the device's port; without effect while that is not attached. With
    /// the lock, one thread at a time.
    /// - Parameter frames: 64 at most; not to be read afterwards, because ports may change them in place.
    func inject(_ frames: inout FrameBatch)
    /// Where the sender with this hardware address was last seen; nil if that is not known. With the lock.
    func origin(of hardware: MACAddress) -> FrameOrigin?
}
