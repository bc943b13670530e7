// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Lifecycle
import Platform

/// The file of `--config`: options of `join`, one on each line, for service managers. There is no quoting: the value is
/// the rest of the line. An empty line, and a line that begins with `#`, has no effect.
enum OptionsFile {
    static let option = "--config"
    /// Bytes. A file with every option is far shorter.
    static let maximumSize = 65_536

    /// What a service does not do: the program would print something and end, and be started again.
    private static let refused = [
        "--help", "--help-hidden", "--version", "--generate-completion-script", "--experimental-dump-help",
    ]

    /// Replaces each `--config FILE` before `--` by the options in the file, so that options after it take
    /// precedence.
    /// - Parameter origins: gets the lines of the files.
    /// - Throws: `noInput` if a file cannot be read, `noPermission` if other users can write it, `usage` for the first
    ///   line that is not an option.
    static func expanded(_ arguments: [String], _ origins: inout OptionOrigins) throws(ExitError) -> [String] {
        var result: [String] = []
        var index = 0
        while index < arguments.count, arguments[index] != "--" {
            let word = arguments[index]
            index += 1
            if word == option, index < arguments.count {
                result += try read(arguments[index], &origins)
                index += 1
            } else if word.hasPrefix(option + "="), word.count > option.count + 1 {
                result += try read(String(word.dropFirst(option.count + 1)), &origins)
            } else {
                result.append(word)
            }
        }
        return result + arguments[index...]
    }

    /// The options in the file at `path`, opened with the rights of the user that called sudo.
    private static func read(_ path: String, _ origins: inout OptionOrigins) throws(ExitError) -> [String] {
        let bytes: [UInt8], untrusted: String?
        do throws(SystemError) {
            let file = try Files.openForCaller(path)
            guard try file.status().kind == .regular else { throw SystemError(code: Errno.invalid, "read", path) }
            untrusted = try Directory.untrustedPart(of: path, file)
            bytes = try file.readAll(limit: maximumSize + 1)
        } catch {
            throw ExitError(
                .noInput,
                "cannot read the options in \(option): \(error); give a readable file, or leave the option out")
        }
        if let untrusted {
            throw ExitError(
                .noPermission,
                """
                \(option): \(path) has options that another user could have written, because \(untrusted); only \
                \(trustedUsers) may write to the file and the directories above it: use chown and chmod go-w, or \
                another place
                """)
        }
        guard bytes.count <= maximumSize else {
            throw ExitError(
                .usage, "\(option): \(path) is longer than \(maximumSize) bytes; give a file with one option a line")
        }
        var arguments: [String] = []
        // Some editors begin a file with U+FEFF.
        let text = bytes.starts(with: [0xef, 0xbb, 0xbf]) ? bytes.dropFirst(3) : bytes[...]
        for (number, line) in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            do throws(LineError) {
                let words = String(decoding: line, as: UTF8.self)
                // Invalid bytes have become others.
                guard words.utf8.elementsEqual(line) else {
                    throw LineError(reason: "it is not text in UTF-8; write the file in that encoding")
                }
                guard let argument = try argument(in: words) else { continue }
                arguments.append(argument)
                origins.lines.append(OptionOrigins.Line(path: path, number: number + 1, argument: argument))
            } catch {
                throw ExitError(.usage, "\(option): \(path), line \(number + 1): \(error.reason)")
            }
        }
        origins.files.append(path)
        return arguments
    }

    /// Whose files are trusted.
    private static var trustedUsers: String {
        let user = CurrentProcess.sudoCaller?.user ?? CurrentProcess.effectiveUser
        return user == 0 ? "root" : "root and " + UserDatabase.userName(user)
    }

    /// Why a line is not an option.
    struct LineError: Error, Equatable {
        let reason: String
    }

    /// The argument that a line stands for: `--name=value`, `--name`, or the VDE argument; nil for none.
    static func argument(in line: String) throws(LineError) -> String? {
        let text = trimmed(line)
        guard let first = text.first, first != "#" else { return nil }
        guard text.unicodeScalars.allSatisfy({ $0.value >= 0x20 || $0 == "\t" }) else {
            throw LineError(reason: "it has a control character; write one option on each line, as plain text")
        }
        guard first == "-" else {
            guard text.contains("/") else {
                throw LineError(
                    reason: "'\(text)' is neither an option (--NAME VALUE) nor the path of a VDE network")
            }
            return text
        }
        let name = text.prefix { $0 != " " && $0 != "\t" && $0 != "=" }
        guard name.hasPrefix("--"), name.count > 2 else {
            throw LineError(reason: "'\(name)' is not an option in full, such as --vmnet-mode")
        }
        if name == option { throw LineError(reason: "\(option) names another file, which is not supported") }
        if refused.contains(String(name)) {
            throw LineError(reason: "\(name) starts no network; give it on a command line")
        }
        let rest = trimmed(String(text.dropFirst(name.count)))
        if rest.isEmpty { return String(name) }
        return rest.first == "=" ? name + rest : name + "=" + rest
    }

    /// Without white space at both ends.
    private static func trimmed(_ text: String) -> String {
        let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\r" || $0 == "\r\n" }
        guard let first = text.firstIndex(where: { !isBlank($0) }), let last = text.lastIndex(where: { !isBlank($0) })
        else { return "" }
        return String(text[first...last])
    }
}

/// The option of `join` that names such a file.
struct OptionsFileOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Take the options in this file too, one on each line: --NAME VALUE, or the VDE argument. Options after it \
            on the command line take precedence. Lines that begin with # are comments.
            """,
            valueName: "file"),
        completion: .file())
    var config: [String] = []

    /// - Throws: if `OptionsFile` has not replaced the option, because it has no name of a file.
    func check() throws {
        if let name = config.first { throw ValidationError("--config: '\(name)' is not the path of a file") }
    }
}
