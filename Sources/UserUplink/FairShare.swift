// SPDX-License-Identifier: Apache-2.0

/// Counts what each guest takes of a bounded resource.
///
/// No guest gets more than it leaves for the others (the dynamic threshold of shared buffers, Choudhury and Hahne
/// 1998): a guest that has none finds room, however much another one has taken.
struct FairShare: Sendable {
    let capacity: Int
    private(set) var total = 0
    private var counts: [GuestOwner: Int] = [:]

    init(capacity: Int) { self.capacity = capacity }

    /// What an owner has taken.
    func count(of owner: GuestOwner) -> Int { counts[owner, default: 0] }

    /// The owner that has taken most; nil if nothing is taken.
    var largest: GuestOwner? { counts.max { $0.value < $1.value }?.key }

    func hasRoom(for owner: GuestOwner) -> Bool { counts[owner, default: 0] < capacity - total }

    mutating func add(_ owner: GuestOwner) {
        total += 1
        counts[owner, default: 0] += 1
    }

    mutating func remove(_ owner: GuestOwner) {
        guard let count = counts[owner] else { return }
        total -= 1
        counts[owner] = count > 1 ? count - 1 : nil
    }

    mutating func removeAll() {
        total = 0
        counts.removeAll(keepingCapacity: true)
    }
}
