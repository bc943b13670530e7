// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Platform

/// The value of a listener's option: a path, and words about the listener after commas, such as `PATH,client`. As in
/// QEMU's options, `,,` stands for a comma in the path.
struct ListenerArgument: Equatable {
    /// The path, with single commas.
    let path: String
    /// The words, of those that the option has.
    let words: Set<String>

    /// A path as the value of such an option.
    static func escaped(_ path: String) -> String {
        path.split(separator: ",", omittingEmptySubsequences: false).joined(separator: ",,")
    }

    /// - Parameters:
    ///   - option: names the option in errors.
    ///   - known: words that the option has.
    ///   - exists: whether there is a file at a path. An existing path with a comma is a path as a whole.
    init(_ text: String, option: String, known: [String], exists: (String) -> Bool = Files.exists) throws {
        var path = "", words: [String] = []
        var rest = Substring(text)
        if text.contains(","), exists(text) {
            path = text
            rest = ""
        }
        while let character = rest.popFirst() {
            if character != "," {
                path.append(character)
            } else if rest.first == "," {
                path.append(rest.removeFirst())
            } else {
                words = rest.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
                break
            }
        }
        if path.isEmpty { throw ValidationError("\(option) needs a path") }
        for word in words where !known.contains(word) {
            throw ValidationError(
                """
                \(option): '\(PrintableText.line(word))' is unknown; after a comma may stand: \
                \(known.joined(separator: ", ")). A comma in the path is written ,,
                """)
        }
        self.path = path
        self.words = Set(words)
    }
}
