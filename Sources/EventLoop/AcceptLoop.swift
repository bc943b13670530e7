// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// Accepts the clients of a listening socket, as far as the quota has descriptors for them.
package final class AcceptLoop {
    /// Clients accepted in one iteration of the loop. The poller reports the others again.
    private static let burst = 16

    private let socket: Descriptor
    private let loop: ControlLoop
    private let cost: Int
    private let quota: ClientQuota
    private let onClient: (consuming Descriptor, ClientQuota.Admission) -> Void
    private let onExhaustion: (String) -> Void
    private var timer: ControlLoop.TimerID?
    /// A failure was reported, and no client was accepted since.
    private var hasReported = false

    /// - Parameters:
    ///   - socket: listening and non-blocking; owned by this object.
    ///   - cost: descriptors that a client needs, its socket included.
    ///   - onExhaustion: called with the reason when a client cannot be accepted, once until one is accepted again. The
    ///     client stays in the backlog.
    ///   - onClient: called with each client, and the admission that reserves its descriptors while it exists.
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
                return pause(ClientQuota.exhaustion)
            }
            switch socket.acceptClient() {
            case .client(let client):
                hasReported = false
                onClient(client, admission)
            case .none: return
            case .failed(let error): return pause(error.description)
            }
        }
    }

    /// Stops watching for a moment. A client in the backlog keeps the socket readable, and the loop would spin.
    private func pause(_ reason: String) {
        if !hasReported { onExhaustion(reason) }
        hasReported = true
        loop.unwatch(socket.raw)
        timer = loop.schedule(after: Acceptance.pause) { [unowned self] in watch() }
    }

    /// Stops accepting clients.
    package func close() {
        loop.cancel(timer)
        loop.unwatch(socket.raw)
    }
}
