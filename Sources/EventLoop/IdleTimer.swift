// SPDX-License-Identifier: Apache-2.0
import Timing

/// Calls back when a condition, such as the absence of clients, has held for a while.
package final class IdleTimer {
    private let timeout: TimeAmount
    private let loop: ControlLoop
    private let isIdle: () -> Bool
    private let onIdle: () -> Void
    private var timer: ControlLoop.TimerID?

    /// - Parameters:
    ///   - timeout: how long `isIdle` must hold without interruption.
    ///   - onIdle: called once when it has.
    package init(
        timeout: TimeAmount, loop: ControlLoop, isIdle: @escaping () -> Bool, onIdle: @escaping () -> Void
    ) {
        self.timeout = timeout
        self.loop = loop
        self.isIdle = isIdle
        self.onIdle = onIdle
        update()
    }

    /// Evaluates the condition. To be called whenever it may have changed.
    package func update() {
        if !isIdle() {
            loop.cancel(timer)
            timer = nil
        } else if timer == nil {
            timer = loop.schedule(after: timeout) { [unowned self] in onIdle() }
        }
    }
}
