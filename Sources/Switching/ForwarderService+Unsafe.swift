// SPDX-License-Identifier: Apache-2.0
import Frames
import Platform
import Wire

// The address service's frames, which come and go by rings.

extension Forwarder {
    mutating func drainService() {
        let number = Int(ForwarderControl.servicePort)
        while true {
            batch.removeAll()
            while batch.count < batch.capacity {
                guard let frame = control.fromService.takeFirst({ $0.copied() }) else { break }
                batch.append(copying: frame.rawSpan)
            }
            if batch.count == 0 { return }
            forward(from: number)
        }
    }

    mutating func deliverToService(_ departures: UnsafeBufferPointer<Departure>) {
        let number = Int(ForwarderControl.servicePort)
        unsafe ports[number].sending.lock()
        for unsafe departure in unsafe departures {
            let index = departure.index
            guard batch.completeChecksum(of: index) else { continue }
            let frame = batch[index]
            if control.toService.append(batch.bytes(of: frame), from: PortNumber(origin.port)) {
                control.serviceCounters.sent(frames: 1, bytes: Int(frame.length))
            } else {
                control.serviceCounters.dropped(Int(frame.length) > FrameRing.slotCapacity ? .oversize : .queueFull)
            }
        }
        unsafe ports[number].sending.unlock()
        control.notification.signal()
    }
}
