// SPDX-License-Identifier: Apache-2.0
import Platform

/// Notices that nobody has been there for a while.
package final class IdleTimer {
    private let patience: UInt64
    private let loop: ControlLoop
    private let isIdle: () -> Bool
    private let onIdle: () -> Void
    private var timer: ControlLoop.TimerID?

    /// - Parameter onIdle: called once `isIdle` has held for so many seconds on end.
    package init(seconds: Int, loop: ControlLoop, isIdle: @escaping () -> Bool, onIdle: @escaping () -> Void) {
        patience = UInt64(seconds) * MonotonicClock.second
        self.loop = loop
        self.isIdle = isIdle
        self.onIdle = onIdle
        update()
    }

    /// To be called whenever somebody has come or gone.
    package func update() {
        if !isIdle() {
            loop.cancel(timer)
            timer = nil
        } else if timer == nil {
            timer = loop.schedule(after: patience) { [unowned self] in onIdle() }
        }
    }
}
