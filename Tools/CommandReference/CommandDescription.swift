// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A command line, as the argument parser prints it for `--experimental-dump-help` (ToolInfo, serialization version 0).
package struct ProgramDescription: Decodable, Sendable {
    package let command: CommandDescription

    /// - Throws: `DecodingError` for any other text.
    package init(json: Data) throws { self = try JSONDecoder().decode(ProgramDescription.self, from: json) }

    private enum CodingKeys: CodingKey {
        case command
    }

    /// The subcommand whose options need no subcommand before them; the program itself if there is none.
    package var defaultCommand: CommandDescription {
        command.subcommands?.first { $0.commandName == command.defaultSubcommand } ?? command
    }

    /// The subcommands that a user types, without the parser's own `help`.
    package var subcommands: [CommandDescription] { command.actions }
}

/// A program, or one of its subcommands.
package struct CommandDescription: Decodable, Sendable {
    let commandName: String
    let shouldDisplay: Bool
    let abstract: String?
    let discussion: String?
    let defaultSubcommand: String?
    let subcommands: [CommandDescription]?
    let arguments: [ArgumentDescription]?

    /// The subcommands that a user types, without the parser's own `help`.
    var actions: [CommandDescription] {
        (subcommands ?? []).filter { $0.shouldDisplay && $0.commandName != "help" }
    }

    var options: [ArgumentDescription] { visible.filter { $0.kind != .positional } }
    var positionals: [ArgumentDescription] { visible.filter { $0.kind == .positional } }
    private var visible: [ArgumentDescription] { (arguments ?? []).filter(\.shouldDisplay) }
}

/// An option, a flag or a positional argument.
struct ArgumentDescription: Decodable, Sendable, Equatable {
    enum Kind: String, Decodable, Sendable {
        case positional, option, flag
    }

    struct Name: Decodable, Sendable, Equatable {
        let kind: String
        let name: String

        var spelling: String { (kind == "long" ? "--" : "-") + name }
    }

    /// What a shell proposes for the value.
    enum Completion: Decodable, Sendable, Equatable {
        case list(values: [String])
        case file(extensions: [String])
        case directory
        case shellCommand(command: String)
        case custom, customAsync, customDeprecated
    }

    let kind: Kind
    let shouldDisplay: Bool
    let isOptional: Bool
    let isRepeating: Bool
    let sectionTitle: String?
    let parsingStrategy: String
    let names: [Name]?
    let valueName: String?
    let defaultValue: String?
    let completionKind: Completion?
    let allValues: [String]?
    let abstract: String?

    var spellings: [String] { (names ?? []).map(\.spelling) }

    /// What a shell proposes; a list if the parser gives the values only.
    var completion: Completion? { completionKind ?? allValues.map { .list(values: $0) } }

    /// The first sentence of the help, without its full stop.
    var summary: String {
        let line = (abstract ?? "").split(separator: "\n").first.map(String.init) ?? ""
        let sentence = line.range(of: ". ").map { String(line[..<$0.lowerBound]) } ?? line
        return sentence.hasSuffix(".") || sentence.hasSuffix(":") ? String(sentence.dropLast()) : sentence
    }
}
