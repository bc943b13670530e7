// SPDX-License-Identifier: Apache-2.0
import Wire

/// Where options of a command line come from that were in files of `--config`, so that an error about an option names
/// its line.
struct OptionOrigins {
    /// An option in a file.
    struct Line: Equatable {
        let path: String
        /// From 1.
        let number: Int
        /// `--name=value`, `--name`, or the VDE argument.
        let argument: String

        /// `--name`, or the VDE argument.
        var name: String {
            argument.hasPrefix("-") ? String(argument.prefix { $0 != "=" }) : argument
        }

        /// Empty if it has none.
        var value: String { argument.hasPrefix("-") ? String(argument.dropFirst(name.count + 1)) : "" }
    }

    var lines: [Line] = []
    /// The paths of the files, also of those without options.
    var files: [String] = []

    /// The lines whose options an error names; if it names their values too, only those lines.
    func lines(in message: String) -> [Line] {
        // What the parser proposes instead need not be what is wrong.
        let end = message.firstRange(ofText: "Did you mean")?.lowerBound ?? message.endIndex
        let message = String(message[..<end])
        let words = Set(
            message.split { !$0.isLetter && !$0.isNumber && $0 != "-" && $0 != "_" }.map(String.init))
        let named = lines.filter {
            $0.argument.hasPrefix("-") ? words.contains($0.name) : message.contains(text: $0.argument)
        }
        let exact = named.filter { !$0.value.isEmpty && message.contains(text: $0.value) }
        return exact.isEmpty ? named : exact
    }

    /// Lines that follow an error, each with the program's name; none if no file has options.
    func notes(on message: String) -> [String] {
        let lines = lines(in: message)
        if lines.isEmpty { return files.map { "vde_vmnet: with the options in \($0)" } }
        return lines.map { line in
            let option = line.value.isEmpty ? line.name : line.name + " " + line.value
            return "vde_vmnet: \(line.path), line \(line.number): \(option)"
        }
    }
}
