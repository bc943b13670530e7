// SPDX-License-Identifier: Apache-2.0
import Platform

/// Calls back when the host's links, addresses or routes have changed, once for a burst of changes.
final class NetworkMonitor {
    private static let settling = 200 * MonotonicClock.millisecond

    private let loop: ControlLoop
    private let descriptor: Descriptor
    private let onChange: () -> Void
    private var timer: ControlLoop.TimerID?

    init(loop: ControlLoop, onChange: @escaping () -> Void) throws(SystemError) {
        self.loop = loop
        self.onChange = onChange
        descriptor = try NetworkInterfaces.monitor()
        try loop.watch(descriptor.raw) { [unowned self] _ in
            // What exactly has changed does not matter; an overrun (ENOBUFS) is a change too.
            while let bytes = try? descriptor.receive(limit: 65_536), !bytes.isEmpty {}
            guard timer == nil else { return }
            timer = loop.schedule(after: NetworkMonitor.settling) { [unowned self] in
                timer = nil
                self.onChange()
            }
        }
    }
}
