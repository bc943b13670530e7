// SPDX-License-Identifier: Apache-2.0

// The command line of `split`, apart from what the tests of it compile.

import Foundation

@main
struct SplitMain {
    static func main() {
        do {
            var paths = Array(CommandLine.arguments.dropFirst())
            guard paths.count >= 3, !paths.count.isMultiple(of: 2) else {
                throw Failure(description: "usage: split DISASSEMBLY INPUT OUTPUT [INPUT OUTPUT]...")
            }
            func read(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }
            var disassembly: Data? = try read(paths.removeFirst())
            for index in stride(from: 0, to: paths.count, by: 2) {
                var image = Image(bytes: [UInt8](try read(paths[index])), name: paths[index])
                if var splitter = try Splitter(image) { image = try splitter.split(disassembly: disassembly) }
                disassembly = nil
                try Data(image.bytes).write(to: URL(fileURLWithPath: paths[index + 1]))
            }
        } catch {
            FileHandle.standardError.write(Data("split: \(error)\n".utf8))
            exit(1)
        }
    }
}
