// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Platform

/// A time from one minute to a year: `90s`, `30m`, `12h`, `7d`, or a number of seconds.
struct DurationArgument: Equatable {
    private static let range = 60...UInt64(365 * 86_400)

    let seconds: UInt32

    /// - Throws: what is wrong with any other text.
    init(_ text: String, option: String) throws {
        guard let parsed = DurationArgument(argument: text) else {
            throw ValidationError(
                "\(option): '\(PrintableText.line(text))' is not a time from 60s to 365d, such as 90s, 30m, 12h or 7d")
        }
        self = parsed
    }

    private init?(argument: String) {
        let units: [Character: UInt64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        let unit = argument.last.flatMap { units[$0] }
        let digits = unit == nil ? argument[...] : argument.dropLast()
        guard (1...9).contains(digits.utf8.count),
            digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let number = UInt64(digits), DurationArgument.range.contains(number * (unit ?? 1))
        else { return nil }
        seconds = UInt32(number * (unit ?? 1))
    }
}
