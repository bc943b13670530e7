// SPDX-License-Identifier: Apache-2.0

/// The memory that all stream buffers may take together.
struct BufferBudget: Sendable {
    /// Bytes.
    let limit: Int
    private(set) var used = 0

    init(limit: Int) { self.limit = limit }

    /// Accounts for a buffer that grows. Returns false if the budget does not allow it.
    mutating func resize(from old: Int, to new: Int) -> Bool {
        // Minimal buffers are always allowed: without them a connection would make no progress. The number of
        // connections bounds them.
        guard new <= StreamBuffer.minimumCapacity || used + new - old <= limit else { return false }
        used += new - old
        return true
    }

    mutating func release(_ size: Int) { used -= size }
}
