// SPDX-License-Identifier: Apache-2.0

/// The memory that all stream buffers may take together, and a share of it for each guest.
///
/// Charged are the buffers towards guests, and the windows that guests were promised, whether their bytes have arrived
/// or not: what a guest may send has memory. The first 16 KiB of each are free, since a connection would make no
/// progress without them; the number of connections bounds them.
///
/// No guest gets more than it leaves for the others (see FairShare): one guest alone gets half.
struct BufferBudget: Sendable {
    /// Bytes.
    let limit: Int
    /// Bytes charged to all guests, and to each.
    private(set) var charged = 0
    private var shares: [GuestOwner: Int] = [:]
    /// Bytes of memory that buffers have.
    private(set) var used = 0
    /// The most of it since `takeRelease`.
    private var peak = 0

    init(limit: Int) { self.limit = limit }

    private static func charge(_ size: Int) -> Int { max(0, size - StreamBuffer.minimumCapacity) }

    /// Charges a guest for a buffer or a window that grows. Returns false if the budget does not allow it.
    mutating func grow(from old: Int, to new: Int, by owner: GuestOwner) -> Bool {
        let more = BufferBudget.charge(new) - BufferBudget.charge(old)
        guard more > 0 else { return true }
        let share = shares[owner, default: 0] + more
        guard share <= limit - charged - more else { return false }
        charged += more
        shares[owner] = share
        return true
    }

    /// Takes back what `grow` has charged.
    mutating func shrink(from old: Int, to new: Int, by owner: GuestOwner) {
        let less = BufferBudget.charge(old) - BufferBudget.charge(new)
        guard less > 0, let share = shares[owner] else { return }
        charged -= less
        shares[owner] = share > less ? share - less : nil
    }

    /// Whether a guest has less than a quarter of what one guest can get.
    func isPlentiful(for owner: GuestOwner) -> Bool { shares[owner, default: 0] <= limit / 8 && charged <= limit / 2 }

    /// Accounts for memory that a buffer takes.
    mutating func take(_ size: Int) {
        used += size
        peak = max(peak, used)
    }

    /// Accounts for memory that a buffer gives back.
    mutating func release(_ size: Int) { used -= size }

    /// Whether so much memory was given back since this was last true that the process should return it to the system.
    mutating func takeRelease() -> Bool {
        guard peak - used >= BufferBudget.releaseThreshold else { return false }
        peak = used
        return true
    }

    private static let releaseThreshold = 16 << 20
}
