// SPDX-License-Identifier: Apache-2.0

// Searching texts, byte by byte. The standard library's own search is a part of its regular expressions, which would
// make the program a megabyte larger; so Package.swift switches that module off.

extension Collection where Element == UInt8 {
    /// The first place where `bytes` are, or nil; an empty collection is found at the start.
    @inlinable
    package func firstRange(ofBytes bytes: some Collection<UInt8>) -> Range<Index>? {
        var start = startIndex
        while true {
            var (end, isFound) = (start, true)
            for byte in bytes {
                guard end != endIndex, self[end] == byte else {
                    isFound = false
                    break
                }
                formIndex(after: &end)
            }
            if isFound { return start..<end }
            if start == endIndex { return nil }
            formIndex(after: &start)
        }
    }
}

extension StringProtocol {
    /// The first place where `text` is, or nil; an empty text is found at the start. Compares the bytes of UTF-8, not
    /// characters.
    @inlinable
    package func firstRange(ofText text: String) -> Range<Index>? { utf8.firstRange(ofBytes: text.utf8) }

    /// True if `text` is in this text.
    @inlinable
    package func contains(text: String) -> Bool { firstRange(ofText: text) != nil }

    /// This text with `replacement` in each place where `text` is; `text` must not be empty.
    @inlinable
    package func replacing(text: String, with replacement: String) -> String {
        precondition(!text.isEmpty, "an empty text is everywhere")
        var (result, rest) = ("", self[...])
        while let range = rest.firstRange(ofText: text) {
            result += rest[..<range.lowerBound]
            result += replacement
            rest = rest[range.upperBound...]
        }
        return result + rest
    }
}
