// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

/// Frames of guests that the egress policy has refused, for the control thread.
package final class RefusalLog: Sendable {
    private struct State {
        var table = RefusalTable()
        /// Nothing is stored while no client awaits it.
        var isOn = false
    }

    private let state = Mutex(State())

    /// Whether refused frames are stored.
    package func setOn(_ isOn: Bool) {
        state.withLock { state in
            state.isOn = isOn
            if !isOn { state.table = RefusalTable() }
        }
    }

    /// Removes the entries, each once, and returns them with the number of frames of each guest that had no room.
    package func take() -> (refusals: [EgressRefusal], further: [MACAddress?: Int]) {
        state.withLock { $0.table.take() }
    }

    /// Notes a frame without VLAN tags that was refused.
    func note(_ frame: RawSpan) {
        guard let ethernet = try? EthernetView(frame) else { return }
        let hardware = ethernet.source
        guard state.withLock({ $0.isOn && $0.table.hasRoom(for: hardware) }),
            let refusal = EgressRefusal(hardware: hardware, packet: ethernet.payload)
        else { return }
        state.withLock { $0.table.insert(refusal) }
    }

    /// Notes a connection that was refused.
    func note(_ refusal: EgressRefusal) {
        state.withLock { if $0.isOn && $0.table.hasRoom(for: refusal.hardware) { $0.table.insert(refusal) } }
    }
}
