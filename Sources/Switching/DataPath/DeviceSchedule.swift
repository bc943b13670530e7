// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Timing

/// When a worker is to poll a polled device next. A switch has one such device at most: the user-mode NAT, or the relay
/// for DNS over TCP beside a TAP.
struct DeviceSchedule {
    /// The device's port, as this worker has last seen it.
    var port: PortNumber = 0
    /// The device was attached, was sent frames, or its descriptor became readable.
    var isDue = false
    var isReadable = false
    /// When it is to be polled in any case.
    var deadline = Instant.distantFuture
}

extension Dispatcher {
    /// Has a device polled after the batch.
    mutating func scheduleDevice(_ port: PortNumber, isReadable: Bool) {
        deviceSchedule.port = port
        deviceSchedule.isDue = true
        if isReadable { deviceSchedule.isReadable = true }
    }

    /// Polls the device if that is due. Returns whether it was. No batch may be in use: the device injects frames.
    ///
    /// An inbox has one order for the frames of all guests. It is emptied before ports are read again: so a port's
    /// frames wait for those that one run reads from each other port, and a guest that sends more waits at its port.
    mutating func pollDevice(now: Instant) -> Bool {
        guard deviceSchedule.isDue || deviceSchedule.deadline <= now else { return false }
        let isReadable = deviceSchedule.isReadable
        deviceSchedule.isDue = false
        deviceSchedule.isReadable = false
        deviceSchedule.deadline = .distantFuture
        // The port may have been detached since.
        guard ports.isAttached(deviceSchedule.port), let device = ports[deviceSchedule.port].endpoint.device else {
            return false
        }
        deviceSchedule.deadline = device.poll(isReadable: isReadable)
        // `distantFuture`: another worker is at it, or nothing is left.
        while deviceSchedule.deadline != .distantFuture, device.hasWaitingFrames {
            deviceSchedule.deadline = device.poll(isReadable: false)
        }
        return true
    }
}
