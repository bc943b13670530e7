// SPDX-License-Identifier: Apache-2.0
import Foundation

/// All manual pages and completion scripts of the program.
package enum CommandReference {
    /// - Parameters:
    ///   - program: what the argument parser prints.
    ///   - folder: the hand-written parts: `NAME.mdoc` for `vde_vmnet-NAME.1`, `vde_vmnet.mdoc`, and whole pages
    ///     `NAME.SECTION`.
    ///   - date: of the pages, `YYYY-MM-DD`.
    /// - Throws: if a hand-written part belongs to no page, or is not in the expected form.
    package static func pages(_ program: ProgramDescription, folder: String, date: String) throws -> [ManualPage] {
        let name = program.command.commandName
        var parts: [String: String] = [:]
        for file in try FileManager.default.contentsOfDirectory(atPath: folder) where !file.hasPrefix(".") {
            parts[file] = try String(contentsOfFile: folder + "/" + file, encoding: .utf8)
        }
        let root = try ManualPage.command(
            [name], program.defaultCommand, abstract: program.command.abstract ?? "",
            handwritten: parts.removeValue(forKey: name + ".mdoc"), date: date)
        var pages = [root]
        for command in program.subcommands {
            let words = [name, command.commandName]
            // A command that has all options of the default one lists only what it adds.
            let base = program.defaultCommand
            let extends = base.options.allSatisfy { command.options.contains($0) } && !base.options.isEmpty
            pages.append(
                try .command(
                    words, command, abstract: command.abstract ?? "", without: extends ? base : nil,
                    handwritten: parts.removeValue(forKey: command.commandName + ".mdoc"), date: date))
        }
        for (file, text) in parts.sorted(by: { $0.key < $1.key }) {
            let words = file.split(separator: ".")
            guard words.count == 2, let section = Int(words[1]) else {
                throw ReferenceError("\(folder)/\(file) is the part of no page; there is no such subcommand")
            }
            pages.append(.handwritten(String(words[0]), section: section, text: text, date: date))
        }
        return pages
    }

    /// The completion scripts by the names of their files.
    package static func completions(_ program: ProgramDescription) -> [String: String] {
        let name = program.command.commandName
        return [
            "bash/\(name)": BashCompletions.script(program), "zsh/_\(name)": ZshCompletions.script(program),
            "fish/\(name).fish": FishCompletions.script(program),
        ]
    }
}
