// SPDX-License-Identifier: Apache-2.0

// unretain: copies ELF objects or static libraries and clears SHF_GNU_RETAIN on their code and data.
// usage: unretain INPUT OUTPUT [INPUT OUTPUT]...
//
// The Swift compiler sets that flag (1 << 21, of the GNU gABI) on every public function, because a debugger or a
// library that is loaded later may look it up. So `--gc-sections` keeps the whole standard library. In a
// program that loads no Swift library, a function that nothing references is never called. Sections named swift5_* keep
// the flag: the runtime finds them by their place, to look up types and conformances.

import Foundation

struct Failure: Error, CustomStringConvertible {
    let description: String
}

/// The bytes of a file with bounds checks; numbers are little-endian, as on x86-64 and arm64.
struct Image {
    var bytes: [UInt8]
    let name: String

    func number(at offset: Int, bytes count: Int) throws -> Int {
        guard offset >= 0, count <= bytes.count, offset <= bytes.count - count else {
            throw Failure(description: "\(name): a field at \(offset) is beyond the end of the file")
        }
        let value = bytes[offset..<offset + count].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard let value = Int(exactly: value) else {
            throw Failure(description: "\(name): the number at \(offset) is too large")
        }
        return value
    }

    func text(at offset: Int) throws -> String {
        guard offset >= 0, offset < bytes.count, let end = bytes[offset...].firstIndex(of: 0) else {
            throw Failure(description: "\(name): a name at \(offset) is beyond the end of the file")
        }
        return String(decoding: bytes[offset..<end], as: UTF8.self)
    }

    /// Clears the flag in the object at `base`. Anything else than an ELF object of 64 bits stays as it is.
    /// - Returns: the number of sections that were changed.
    mutating func unretainObject(at base: Int, size: Int) throws -> Int {
        guard size >= 64, Array(bytes[base..<base + 6]) == [0x7f, 0x45, 0x4c, 0x46, 2, 1] else { return 0 }
        let table = base + (try number(at: base + 0x28, bytes: 8))
        let entry = try number(at: base + 0x3a, bytes: 2)
        guard entry == 64 else { throw Failure(description: "\(name): section headers of \(entry) bytes, not of 64") }
        var count = try number(at: base + 0x3c, bytes: 2)
        var names = try number(at: base + 0x3e, bytes: 2)
        // More than 65,279 sections: the numbers are in the first header.
        if count == 0 { count = try number(at: table + 32, bytes: 8) }
        if names == 0xffff { names = try number(at: table + 40, bytes: 4) }
        let strings = base + (try number(at: table + names * 64 + 24, bytes: 8))
        var changed = 0
        for index in 0..<count {
            let header = table + index * 64
            let flags = try number(at: header + 8, bytes: 8)
            guard flags & (1 << 21) != 0 else { continue }
            if try text(at: strings + number(at: header, bytes: 4)).hasPrefix("swift5_") { continue }
            // Bit 21 is in the third byte.
            bytes[header + 10] &= ~(1 << 5)
            changed += 1
        }
        return changed
    }

    /// The members of an archive (ar(5)), or the object that the whole file is.
    mutating func unretain() throws -> Int {
        guard bytes.starts(with: Array("!<arch>\n".utf8)) else { return try unretainObject(at: 0, size: bytes.count) }
        var (offset, changed) = (8, 0)
        while offset < bytes.count {
            guard offset + 60 <= bytes.count,
                let digits = String(decoding: bytes[offset + 48..<offset + 58], as: UTF8.self).split(separator: " ")
                    .first,
                let size = Int(digits), size >= 0, size <= bytes.count - offset - 60
            else {
                throw Failure(description: "\(name): the archive is damaged at \(offset)")
            }
            changed += try unretainObject(at: offset + 60, size: size)
            offset += 60 + size + size % 2
        }
        return changed
    }
}

@main
struct Unretain {
    static func main() {
        do {
            let paths = Array(CommandLine.arguments.dropFirst())
            guard !paths.isEmpty, paths.count.isMultiple(of: 2) else {
                throw Failure(description: "usage: unretain INPUT OUTPUT [INPUT OUTPUT]...")
            }
            var changed = 0
            for index in stride(from: 0, to: paths.count, by: 2) {
                let input = URL(fileURLWithPath: paths[index])
                var image = Image(bytes: [UInt8](try Data(contentsOf: input)), name: paths[index])
                changed += try image.unretain()
                try Data(image.bytes).write(to: URL(fileURLWithPath: paths[index + 1]))
            }
            guard changed > 0 else {
                throw Failure(
                    description: "no section has the flag; perhaps this compiler marks in another way what it keeps")
            }
        } catch {
            FileHandle.standardError.write(Data("unretain: \(error)\n".utf8))
            exit(1)
        }
    }
}
