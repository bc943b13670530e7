// SPDX-License-Identifier: Apache-2.0
import Platform

/// A listening socket whose clients are taken in as they come, as far as there are descriptors for them.
package final class AcceptLoop {
    /// Clients taken in in one go; the loop comes back for the others.
    private static let burst = 16

    private let socket: Descriptor
    private let loop: ControlLoop
    private let cost: Int
    private let quota: ClientQuota
    private let onClient: (consuming Descriptor, ClientQuota.Admission) -> Void
    private let onExhaustion: (String) -> Void
    private var timer: ControlLoop.TimerID?
    /// That one could not be taken in was said, and none was since.
    private var hasComplained = false

    /// - Parameters:
    ///   - cost: descriptors that a client takes, this one included.
    ///   - onExhaustion: called with the reason when a client could not be taken in, and not again before one was. It
    ///     waits, and is tried again.
    ///   - onClient: called with each client, and what reserves its descriptors for as long as it is kept.
    package init(
        _ socket: consuming Descriptor, cost: Int, of quota: ClientQuota, loop: ControlLoop,
        onExhaustion: @escaping (String) -> Void,
        onClient: @escaping (consuming Descriptor, ClientQuota.Admission) -> Void
    ) throws(SystemError) {
        self.socket = socket
        self.loop = loop
        self.cost = cost
        self.quota = quota
        self.onClient = onClient
        self.onExhaustion = onExhaustion
        try loop.watch(self.socket.raw) { [unowned self] _ in accept() }
    }

    private func watch() {
        do throws(SystemError) {
            try loop.watch(socket.raw) { [unowned self] _ in accept() }
        } catch {
            pause(error.description)
        }
    }

    private func accept() {
        for _ in 0..<AcceptLoop.burst {
            guard let admission = quota.admit(cost) else {
                return pause(
                    "all descriptors for clients are in use; raise the limit of open files (ulimit -n, LimitNOFILE=)")
            }
            switch socket.acceptClient() {
            case .client(let client):
                hasComplained = false
                onClient(client, admission)
            case .none: return
            case .failed(let error): return pause(error.description)
            }
        }
    }

    /// Looks away for a moment: the client that waits keeps the socket ready.
    private func pause(_ reason: String) {
        if !hasComplained { onExhaustion(reason) }
        hasComplained = true
        loop.unwatch(socket.raw)
        timer = loop.schedule(after: Acceptance.pause) { [unowned self] in watch() }
    }

    package func close() {
        loop.cancel(timer)
        loop.unwatch(socket.raw)
    }
}
