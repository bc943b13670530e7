// SPDX-License-Identifier: Apache-2.0

/// Parts of a stream, in order and apart from each other, as offsets from a point that moves forward. There are few of
/// them at a time: what would be one too many is refused.
struct ByteRanges: Sendable {
    static let capacity = 64

    private(set) var ranges: [Range<Int>] = []

    init() {}

    var isEmpty: Bool { ranges.isEmpty }
    /// Where the last one ends; 0 if there is none.
    var end: Int { ranges.last?.upperBound ?? 0 }
    /// How many bytes they hold.
    var count: Int { ranges.reduce(0) { $0 + $1.count } }

    /// Adds a part, joining what touches. Returns false, and changes nothing, if there are too many.
    @discardableResult
    mutating func insert(_ part: Range<Int>) -> Bool {
        guard !part.isEmpty else { return true }
        // Mostly the last one grows, or a new one comes behind it.
        if let last = ranges.last, part.lowerBound > last.upperBound {
            guard ranges.count < ByteRanges.capacity else { return false }
            ranges.append(part)
            return true
        }
        let first = ranges.firstIndex { $0.upperBound >= part.lowerBound } ?? ranges.count
        var end = first
        var joined = part
        while end < ranges.count, ranges[end].lowerBound <= part.upperBound {
            joined = min(joined.lowerBound, ranges[end].lowerBound)..<max(joined.upperBound, ranges[end].upperBound)
            end += 1
        }
        guard end > first || ranges.count < ByteRanges.capacity else { return false }
        ranges.replaceSubrange(first..<end, with: CollectionOfOne(joined))
        return true
    }

    /// Moves the point from which offsets count forward; what lies before it is forgotten.
    mutating func advance(_ distance: Int) {
        guard distance > 0, !ranges.isEmpty else { return }
        ranges.removeAll { $0.upperBound <= distance }
        for index in ranges.indices {
            ranges[index] = max(0, ranges[index].lowerBound - distance)..<(ranges[index].upperBound - distance)
        }
    }

    mutating func removeAll() { ranges.removeAll(keepingCapacity: true) }

    /// How many bytes of the first `limit` they hold.
    func covered(before limit: Int) -> Int {
        var sum = 0
        for range in ranges {
            guard range.lowerBound < limit else { break }
            sum += min(range.upperBound, limit) - range.lowerBound
        }
        return sum
    }

    /// The first part from `start` on and before `limit` that is not in them; nil if there is none.
    func gap(from start: Int, before limit: Int) -> Range<Int>? {
        var position = start
        for range in ranges where range.upperBound > position {
            if range.lowerBound > position { return position < limit ? position..<min(range.lowerBound, limit) : nil }
            position = range.upperBound
        }
        return position < limit ? position..<limit : nil
    }
}
