// SPDX-License-Identifier: Apache-2.0

/// Layouts of headers are in Wire: other targets name a field, such as `IPv4Header.Field.source`, and write no number.
enum HeaderFields {
    /// Functions of Wire that read or write a field at an offset.
    private static let accessors: Set = [
        "byte", "big16", "big32", "big64", "little16", "native32", "native64", "native256", "put8", "put16",
        "put16Little", "put32", "put64",
    ]

    static func offences(_ tree: SourceTree) -> [Offence] {
        tree.sources.filter { $0.isSwift && $0.target != "Wire" }.flatMap { file in
            let code = file.lines.map { Confinement.split($0).code }
            let lengths = code.indices.filter { comparesLength(code[$0]) }.map {
                file.offence(.headerFields, line: $0 + 1, "a length as a number; name the header's length in Wire")
            }
            return offsets(code).map {
                file.offence(.headerFields, line: $0 + 1, "an offset as a number; name the field in Wire")
            } + lengths
        }
    }

    /// The lines, from 0 on, of calls whose argument `at` has a number in it.
    private static func offsets(_ code: [String]) -> [Int] {
        var found: [Int] = []
        for (number, line) in code.enumerated() where line.contains("(") {
            var rest = Substring(line)
            while let open = rest.firstIndex(of: "(") {
                let name = rest[..<open].reversed().prefix { $0.isLetter || $0.isNumber }
                rest = rest[rest.index(after: open)...]
                guard accessors.contains(String(name.reversed())) else { continue }
                // The arguments may be on the lines after.
                let text = ([String(rest)] + code[(number + 1)...].prefix(5)).joined(separator: "\n")
                if let offset = arguments(text).last(where: { $0.hasPrefix("at:") }), hasNumber(offset, from: 0) {
                    found.append(number)
                }
            }
        }
        return found
    }

    /// The arguments of a call, of which `text` is what follows the opening parenthesis.
    private static func arguments(_ text: String) -> [Substring] {
        var found: [Substring] = [], depth = 0, start = text.startIndex
        for index in text.indices {
            switch text[index] {
            case "(", "[", "{": depth += 1
            case ")", "]", "}": depth -= 1
            default: break
            }
            guard depth < 0 || (depth == 0 && text[index] == ",") else { continue }
            found.append(text[start..<index].drop { $0.isWhitespace })
            if depth < 0 { break }
            start = text.index(after: index)
        }
        return found
    }

    /// Whether a line compares `byteCount` with a number from 2 on, which is a header's length.
    private static func comparesLength(_ line: String) -> Bool {
        guard let range = line.ranges(of: "byteCount ").last else { return false }
        let rest = line[range.upperBound...].prefix { $0 != "," && $0 != "{" && $0 != "|" && $0 != "?" }
        return (rest.contains(">") || rest.contains("<") || rest.contains("==")) && hasNumber(rest, from: 2)
    }

    private static func hasNumber(_ code: some StringProtocol, from least: Int) -> Bool {
        code.split { !($0.isLetter || $0.isNumber || $0 == "_" || $0 == ".") }
            .contains { $0.first?.isNumber == true && Int($0) ?? least >= least }
    }
}
