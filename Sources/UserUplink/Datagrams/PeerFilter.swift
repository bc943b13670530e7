// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The addresses to which a flow has sent, which alone may answer (RFC 4787 section 5, "address-dependent filtering").
///
/// One address costs no further memory. The others are bounded, for each flow and by what the caller's share allows;
/// the oldest make room.
struct PeerFilter: Sendable {
    /// Addresses of one flow, besides the first.
    static let limit = 4096

    private var first: IPv6Address?
    /// The second of the last datagram to each of the others.
    private var others: [IPv6Address: CoarseInstant] = [:]

    /// Addresses besides the first.
    var count: Int { others.count }

    func contains(_ address: IPv6Address) -> Bool { address == first || others[address] != nil }

    /// Notes that the flow has sent to an address.
    /// - Parameter hasRoom: whether one more address may be kept.
    /// - Returns: how `count` has changed.
    mutating func note(_ address: IPv6Address, at second: CoarseInstant, hasRoom: Bool) -> Int {
        if first == nil { first = address }
        if address == first { return 0 }
        if let noted = others[address] {
            if noted != second { others[address] = second }
            return 0
        }
        let before = others.count
        if !hasRoom || others.count >= PeerFilter.limit { removeOldest() }
        if !hasRoom && others.isEmpty { first = address } else { others[address] = second }
        return others.count - before
    }

    /// Removes the half that was not sent to for longest, so that the search is rare.
    private mutating func removeOldest() {
        let seconds = others.values.sorted()
        guard !seconds.isEmpty else { return }
        var excess = seconds.count - seconds.count / 2
        let median = seconds[excess - 1]
        others = others.filter { _, second in
            guard second <= median, excess > 0 else { return true }
            excess -= 1
            return false
        }
    }
}
