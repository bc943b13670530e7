// SPDX-License-Identifier: Apache-2.0
import CommandReference
import Foundation

/// Writes the manual pages and completion scripts of the program whose description is on standard input.
///
///     vde_vmnet --experimental-dump-help | command_reference PARTS DATE FOLDER
///
/// PARTS is packaging/man, DATE is YYYY-MM-DD, and FOLDER gets man/, bash/, zsh/ and fish/.
@main
struct Tool {
    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 4 else {
            FileHandle.standardError.write(
                Data("command_reference: usage: command_reference PARTS DATE FOLDER <DESCRIPTION\n".utf8))
            exit(64)
        }
        do {
            let program = try ProgramDescription(json: FileHandle.standardInput.readDataToEndOfFile())
            var files = CommandReference.completions(program)
            for page in try CommandReference.pages(program, folder: arguments[1], date: arguments[2]) {
                files["man/" + page.file] = page.text
            }
            for (name, text) in files {
                let file = URL(fileURLWithPath: arguments[3]).appendingPathComponent(name)
                try FileManager.default.createDirectory(
                    at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
                try Data(text.utf8).write(to: file)
            }
        } catch {
            FileHandle.standardError.write(Data("command_reference: error: \(error)\n".utf8))
            exit(1)
        }
    }
}
