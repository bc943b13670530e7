// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// Threads with all signals blocked: the main thread handles signals.
package enum WorkerThread {
    private typealias Start = Box<@Sendable () -> Void>

    /// Starts a thread that runs `body` and ends with it.
    /// - Parameter name: up to 15 bytes, shown by `ps -T` and debuggers.
    package static func start(named name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let context = unsafe Unmanaged.passRetained(Start(body)).toOpaque()
        let result = unsafe platform_thread_start(
            name, { unsafe Unmanaged<Start>.fromOpaque($0!).takeRetainedValue().value() }, context)
        if result < 0 { unsafe Unmanaged<Start>.fromOpaque(context).release() }
        try SystemError.check(result, "start thread", name)
    }

    /// The number of processors that this process may use.
    package static var processors: Int { Int(platform_processors()) }

    /// Lets another thread run that waits for this processor (sched_yield(2)).
    package static func yield() { platform_thread_yield() }
}
