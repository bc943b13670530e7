// SPDX-License-Identifier: Apache-2.0

/// A set of bytes of a stream as disjoint ranges in ascending order, given as offsets from a base that moves forward
/// (SND.UNA or RCV.NXT). At most `capacity` ranges, so that a hostile peer cannot make it grow.
struct ByteRanges: Sendable {
    static let capacity = 64

    private(set) var ranges: [Range<Int>] = []

    init() {}

    var isEmpty: Bool { ranges.isEmpty }
    /// Where the last range ends; 0 if there is none.
    var end: Int { ranges.last?.upperBound ?? 0 }
    /// Bytes in all ranges.
    var count: Int { ranges.reduce(0) { $0 + $1.count } }

    /// Adds a range and merges it with those it touches. Returns false, and changes nothing, if there are too many.
    @discardableResult
    mutating func insert(_ range: Range<Int>) -> Bool {
        guard !range.isEmpty else { return true }
        // Fast path: a new range after the last one.
        if let last = ranges.last, range.lowerBound > last.upperBound {
            guard ranges.count < ByteRanges.capacity else { return false }
            ranges.append(range)
            return true
        }
        let first = ranges.firstIndex { $0.upperBound >= range.lowerBound } ?? ranges.count
        var end = first
        var merged = range
        while end < ranges.count, ranges[end].lowerBound <= range.upperBound {
            merged = min(merged.lowerBound, ranges[end].lowerBound)..<max(merged.upperBound, ranges[end].upperBound)
            end += 1
        }
        guard end > first || ranges.count < ByteRanges.capacity else { return false }
        ranges.replaceSubrange(first..<end, with: CollectionOfOne(merged))
        return true
    }

    /// Moves the base forward; what lies before it is removed.
    mutating func advance(_ distance: Int) {
        guard distance > 0, !ranges.isEmpty else { return }
        ranges.removeAll { $0.upperBound <= distance }
        for index in ranges.indices {
            ranges[index] = max(0, ranges[index].lowerBound - distance)..<(ranges[index].upperBound - distance)
        }
    }

    mutating func removeAll() { ranges.removeAll(keepingCapacity: true) }

    /// How many of the first `limit` bytes are in the set.
    func covered(before limit: Int) -> Int {
        var sum = 0
        for range in ranges {
            guard range.lowerBound < limit else { break }
            sum += min(range.upperBound, limit) - range.lowerBound
        }
        return sum
    }

    /// The first range from `start` on and before `limit` that is not in the set; nil if there is none.
    func gap(from start: Int, before limit: Int) -> Range<Int>? {
        var position = start
        for range in ranges where range.upperBound > position {
            if range.lowerBound > position { return position < limit ? position..<min(range.lowerBound, limit) : nil }
            position = range.upperBound
        }
        return position < limit ? position..<limit : nil
    }
}
