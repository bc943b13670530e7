// SPDX-License-Identifier: Apache-2.0
import Platform

/// A listening socket whose clients are taken in as they come.
final class Listener {
    /// Clients taken in in one go; the loop comes back for the others.
    private static let burst = 16
    /// How long we look away when no descriptor is left for a client: its connection stays ready for ever.
    private static let pause = 100 * MonotonicClock.millisecond

    private let socket: Descriptor
    private let loop: ControlLoop
    private let onClient: (consuming Descriptor) -> Void
    private let onExhaustion: (SystemError) -> Void
    private var timer: ControlLoop.TimerID?

    /// - Parameter onExhaustion: called when a client could not be taken in for want of descriptors.
    init(_ socket: consuming Descriptor, loop: ControlLoop, onExhaustion: @escaping (SystemError) -> Void, onClient: @escaping (consuming Descriptor) -> Void) throws(SystemError) {
        self.socket = socket
        self.loop = loop
        self.onClient = onClient
        self.onExhaustion = onExhaustion
        try watch()
    }

    private func watch() throws(SystemError) {
        try loop.watch(socket.raw) { [unowned self] _ in accept() }
    }

    private func accept() {
        for _ in 0..<Listener.burst {
            do throws(SystemError) {
                onClient(try socket.accept())
            } catch {
                if error.code == Errno.tooManyFiles || error.code == Errno.tableFull || error.code == Errno.noBuffers {
                    onExhaustion(error)
                    loop.unwatch(socket.raw)
                    timer = loop.schedule(after: Listener.pause) { [unowned self] in try? watch() }
                }
                return
            }
        }
    }

    func close() {
        loop.cancel(timer)
        loop.unwatch(socket.raw)
    }
}
