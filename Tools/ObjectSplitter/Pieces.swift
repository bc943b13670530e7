// SPDX-License-Identifier: Apache-2.0

// What `split` reads of relocations, symbols and Swift's data, and the pieces that it makes.

struct Relocation {
    var offset, symbol, type, addend: Int
}

struct Symbol {
    var name, info, section, value, size: Int

    var isData: Bool { info & 15 == 1 }
    var isFunction: Bool { info & 15 == 2 }
    var isSection: Bool { info & 15 == 3 }
}

/// What differs between processors.
struct Processor {
    /// The types of relocations for the target of a branch, and for an address that is loaded.
    let branch, load: Int
    /// The type of relocations for a distance in data.
    let distance: Int
    /// What an instruction's distance counts from, in bytes after the distance.
    let bias: Int
    /// The number of bytes that an operand after the distance may have.
    let operand: Int
    /// The type of an entry of a jump table, where the assembler leaves these to the linker.
    let tableEntry: Int?
    /// Functions begin at multiples of this, except those that are optimised for size.
    let alignment: Int

    static let x86 = Processor(branch: 4, load: 2, distance: 2, bias: 4, operand: 4, tableEntry: 2, alignment: 16)
    // On arm64, the entries of a jump table are relative to the function, so the assembler computes them.
    static let arm64 = Processor(
        branch: 282, load: 274, distance: 261, bias: 0, operand: 0, tableEntry: nil, alignment: 4)
}

/// A field of the data that Swift's runtime reads (MetadataValues.h and Metadata.h of its ABI), by the symbol's last
/// letters.
enum Field {
    case distance, number, unknown

    init(of name: String, at offset: Int, leadsTo target: String?) {
        func isOne(of endings: String...) -> Bool { name.hasPrefix("$s") && endings.contains(where: name.hasSuffix) }
        self =
            switch offset {
            // The context of a type, protocol or extension, and its name.
            case 4 where isOne(of: "Mn", "Mp", "MXX", "MXE"), 8 where isOne(of: "Mn", "Mp", "MXM"): .distance
            // The pattern for the metadata of a generic structure, enumeration or class.
            case 32 where isOne(of: "Mn"), 48 where isOne(of: "Mn"):
                target?.hasSuffix("MP") == true ? .distance : .unknown
            // The protocol and the type of a conformance.
            case 0 where isOne(of: "Mc"), 4 where isOne(of: "Mc"): .distance
            // The flags of a context.
            case 0 where isOne(of: "Mn", "Mp", "MXX", "MXE"): .number
            default: .unknown
            }
    }
}

/// An instruction or a number that names another place of its section, without a relocation.
struct Reference {
    let offset, target, type: Int
    /// Whether a relocation can replace the distance in the instruction.
    let isFar: Bool
}

/// The pieces of a section.
struct Pieces {
    let section: ELFObject.Section
    /// Their first bytes, in ascending order. The first is 0.
    var starts: [Int]

    /// The number of the piece that has a byte. A symbol may name the end of the section.
    func index(at offset: Int) -> Int? {
        guard offset >= 0, offset <= section.size else { return nil }
        var (low, high) = (0, starts.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= offset { low = middle } else { high = middle }
        }
        return low
    }

    func end(of piece: Int) -> Int { piece + 1 < starts.count ? starts[piece + 1] : section.size }

    mutating func join(_ joined: Set<Int>) {
        starts = starts.filter { $0 == 0 || !joined.contains($0) }
    }
}
