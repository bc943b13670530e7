// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

/// A time from one minute to a year: `90s`, `30m`, `12h`, `7d`, or a number of seconds.
struct DurationArgument: ExpressibleByArgument, Equatable {
    private static let range = 60...UInt64(365 * 86_400)

    let seconds: UInt32

    init?(argument: String) {
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
