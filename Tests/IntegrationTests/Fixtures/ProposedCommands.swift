// SPDX-License-Identifier: Apache-2.0
import TestSupport

extension BackgroundProgram {
    /// The commands that a message of the program proposes, without `sudo`, once all of the message is there.
    func proposedCommands() throws -> [String] {
        try eventually("all of the message") { output.hasSuffix("\n") }
        return output.split(separator: "\n").filter { $0.hasPrefix("    sudo ") }.map { String($0.dropFirst(9)) }
    }
}
