// SPDX-License-Identifier: Apache-2.0

// split: copies ELF objects and divides their sections, so that the linker may drop functions and data that nothing
// uses. The result is like that of a compiler with -ffunction-sections and -fdata-sections.
// usage: split DISASSEMBLY INPUT OUTPUT [INPUT OUTPUT]...
// DISASSEMBLY is the output of: llvm-objdump --disassemble --no-show-raw-insn --section=.text INPUT, of the first INPUT
//
// The Swift compiler cannot put each piece of data into a section. The standard library is compiled without
// -function-sections too: all functions that are not public share one section of 1.6 MB. The linker keeps a section as
// a whole, with all that any part of it references.
//
// * The section `.text` of the first input, and the sections of data of all inputs, are cut at their symbols. Functions
//   and data without a symbol, which the compiler names privately, lie between two others and stay together.
// * The assembler has resolved branches from one function to another of the same section. They get relocations again.
//   The disassembly names them; each must agree with the bytes of the instruction. Short branches of x86-64, which no
//   relocation can express, keep both functions in one piece.
// * A jump table of x86-64 has differences of two addresses, of code and of the table. The function that loads the
//   table's address must be the one that all its entries lead to.
// * Descriptors in `.rodata` have distances to others. Where the assembler has resolved these, they get relocations
//   again, or the descriptors stay together.
// * A relocation that names a section and an offset names the piece instead. An instruction may mean the end of one
//   object or the start of the next. Such objects stay together.
// What does not fit this description is an error, and no object is written.

import Foundation

struct Splitter {
    let image: Image
    let object: ELFObject
    let processor: Processor
    let symbolTable: ELFObject.Section
    private(set) var symbols: [Symbol] = []
    /// By the index of the section that they are for.
    private var relocations: [Int: [Relocation]] = [:]
    private var references: [Reference] = []
    /// By the index of the section.
    private var divided: [Int: Pieces] = [:]
    /// The jump tables: first byte and size, in ascending order, by the index of the section.
    private var tables: [Int: [Range<Int>]] = [:]
    /// Numbers in data that are distances to other pieces of the same section, by the index of the section.
    private var distances: [Int: [Reference]] = [:]
    private var text: ELFObject.Section?

    init?(_ image: Image) throws {
        self.image = image
        guard image.bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46, 2, 1]) else { return nil }
        switch try image.number(at: 18, bytes: 2) {
        case 62: processor = .x86
        case 183: processor = .arm64
        case let other: throw Failure(description: "\(image.name): processor \(other) is neither x86-64 nor arm64")
        }
        object = try ELFObject(in: image, at: 0)
        guard let table = object.sections.first(where: { $0.type == ELFObject.symbolTable }) else { return nil }
        symbolTable = table
        symbols = try stride(from: table.offset, to: table.offset + table.size, by: 24).map {
            Symbol(
                name: try image.number(at: $0, bytes: 4), info: try image.number(at: $0 + 4, bytes: 2),
                section: try image.number(at: $0 + 6, bytes: 2), value: try image.number(at: $0 + 8, bytes: 8),
                size: try image.number(at: $0 + 16, bytes: 8))
        }
        for (section, table) in object.relocations {
            relocations[section] = try stride(from: table.offset, to: table.offset + table.size, by: 24).map {
                Relocation(
                    offset: try image.number(at: $0, bytes: 8), symbol: try image.number(at: $0 + 12, bytes: 4),
                    type: try image.number(at: $0 + 8, bytes: 4), addend: try image.signed(at: $0 + 16, bytes: 8))
            }
        }
    }

    private func failure(_ text: String) -> Failure { Failure(description: "\(image.name): \(text)") }

    private func isCode(_ section: Int) -> Bool { object.sections[section].flags & ELFObject.executable != 0 }

    /// The section that a symbol stands for, or nil.
    private func section(ofSymbol index: Int) -> Int? { symbols[index].isSection ? symbols[index].section : nil }

    private func isTable(_ section: Int, _ offset: Int) -> Range<Int>? {
        tables[section]?.first { $0.contains(offset) }
    }

    // MARK: Cuts

    /// Cuts the section at each function's symbol, and at the end of a function if more than padding follows it.
    private mutating func divideText(_ text: ELFObject.Section) {
        func aligned(_ offset: Int) -> Int { (offset + processor.alignment - 1) & -processor.alignment }
        var cuts = Set([0])
        var end = 0
        let functions = symbols.filter { $0.isFunction && $0.section == text.index }
        for function in functions.sorted(by: { ($0.value, $1.size) < ($1.value, $0.size) })
        where function.value >= end {
            if aligned(end) < function.value { cuts.insert(aligned(end)) }
            if function.value == aligned(function.value) { cuts.insert(function.value) }
            end = function.value + function.size
        }
        if aligned(end) < text.size { cuts.insert(aligned(end)) }
        var pieces = Pieces(section: text, starts: cuts.sorted())
        // What a short branch connects stays together.
        var joined = Set<Int>()
        for reference in references where !reference.isFar {
            guard let from = pieces.index(at: reference.offset), let to = pieces.index(at: reference.target), from != to
            else { continue }
            joined.formUnion(pieces.starts[min(from, to) + 1...max(from, to)])
        }
        pieces.join(joined)
        divided[text.index] = pieces
    }

    /// Cuts sections at the start and the end of each object of data that has a symbol.
    private mutating func divideData() throws {
        let names = [".rodata", ".data.rel.ro", ".data", "swift5_typeref"]
        for section in object.sections
        where section.type == ELFObject.bits && section.size > 0
            && section.flags & (ELFObject.retain | ELFObject.inGroup | ELFObject.mergeable) == 0
        {
            guard names.contains(try object.name(of: section, in: image)) else { continue }
            divided[section.index] = Pieces(section: section, starts: [0])
        }
        var objects: [Int: [Symbol]] = [:]
        for symbol in symbols where symbol.isData && divided[symbol.section] != nil {
            objects[symbol.section, default: []].append(symbol)
        }
        for (section, list) in objects {
            var cuts = Set([0])
            var end = 0
            // Some symbols name the inside of an object.
            for symbol in list.sorted(by: { ($0.value, $1.size) < ($1.value, $0.size) }) where symbol.value >= end {
                cuts.formUnion([symbol.value, symbol.value + symbol.size])
                end = symbol.value + symbol.size
            }
            let size = object.sections[section].size
            divided[section]?.starts = cuts.filter { $0 < size }.sorted()
        }
        try findTables()
        for section in objects.keys { try findDistances(section) }
        // An instruction's relocation may mean the end of an object, or have an operand after it.
        for (section, list) in relocations where isCode(section) {
            for relocation in list {
                guard let data = self.section(ofSymbol: relocation.symbol), var pieces = divided[data], !isCode(data)
                else { continue }
                let target = relocation.addend + processor.bias
                let fixed = Set((tables[data] ?? []).flatMap { [$0.lowerBound, $0.upperBound] })
                pieces.join(Set(target...target + processor.operand).subtracting(fixed))
                divided[data] = pieces
            }
        }
    }

    /// Finds what the assembler has resolved a distance between. Where a distance is known to be one, it gets a
    /// relocation again. Any other number may be a distance that leads to a symbol, with a flag in its two lowest bits,
    /// or to data without a symbol: what lies between stays together.
    private mutating func findDistances(_ index: Int) throws {
        guard var pieces = divided[index] else { return }
        var names: [Int: String] = [:]
        for symbol in symbols where symbol.section == index && !symbol.isSection {
            names[symbol.value] = try image.text(at: object.sections[symbolTable.link].offset + symbol.name)
        }
        func name(of piece: Int) -> String { names[pieces.starts[piece]] ?? "" }
        let relocated = Set((relocations[index] ?? []).map(\.offset))
        switch try object.name(of: pieces.section, in: image) {
        // Strings with references to descriptors and functions, which are elsewhere.
        case "swift5_typeref": return
        case ".rodata": break
        default:
            // These have pointers. References by name and asynchronous functions have distances to other sections.
            for relocation in relocations[index] ?? [] where relocation.type == processor.distance {
                let name = pieces.index(at: relocation.offset).map(name) ?? ""
                if !name.hasSuffix("MD") && !name.hasSuffix("Tu") { divided[index] = nil }
            }
            return
        }
        /// Strings without a symbol have no distances.
        func isText(_ piece: Int) -> Bool {
            let bytes = image.bytes[
                pieces.section.offset + pieces.starts[piece]..<pieces.section.offset + pieces.end(of: piece)]
            return bytes.allSatisfy { $0 == 0 || (0x20...0x7e).contains($0) }
        }
        let known = Set(names.keys).union((tables[index] ?? []).map(\.lowerBound))
        var joined = Set<Int>()
        for offset in stride(from: 0, to: pieces.section.size - 3, by: 4) where !relocated.contains(offset) {
            let target = offset + (try image.signed(at: pieces.section.offset + offset, bytes: 4))
            guard let from = pieces.index(at: offset), let to = pieces.index(at: target), from != to,
                target < pieces.section.size,
                !known.contains(pieces.starts[to]) || (target - 3...target).contains(where: { names[$0] != nil })
            else { continue }
            if names[pieces.starts[from]] == nil, isText(from) { continue }
            switch Field(of: name(of: from), at: offset - pieces.starts[from], leadsTo: names[target]) {
            case .number: break
            case .distance where !relocated.isEmpty:
                distances[index, default: []].append(
                    Reference(offset: offset, target: target, type: processor.distance, isFar: true))
            case .distance, .unknown: joined.formUnion(pieces.starts[min(from, to) + 1...max(from, to)])
            }
        }
        pieces.join(joined)
        divided[index] = pieces
    }

    /// Finds the jump tables: a section has differences to one function, from where that function loads an address.
    private mutating func findTables() throws {
        guard let type = processor.tableEntry else { return }
        /// The function of a place in a section of code: the number of the section, and of its piece.
        func function(_ offset: Int, in section: Int) -> [Int]? {
            divided[section].map { pieces in pieces.index(at: offset).map { [section, $0] } } ?? [section]
        }
        var entries: [Int: [Int: (section: Int, addend: Int)]] = [:]
        for data in divided.keys where !isCode(data) {
            for relocation in relocations[data] ?? [] where relocation.type == type {
                guard let code = section(ofSymbol: relocation.symbol), isCode(code) else { continue }
                entries[data, default: [:]][relocation.offset] = (code, relocation.addend)
            }
        }
        var users: [Int: [Int: [Int]]] = [:]
        for (code, list) in relocations where isCode(code) {
            for relocation in list where relocation.type == processor.load {
                let start = relocation.addend + processor.bias
                guard let data = section(ofSymbol: relocation.symbol), let entry = entries[data]?[start],
                    entry.section == code, let user = function(relocation.offset, in: code),
                    function(entry.addend, in: code) == user
                else { continue }
                guard users[data, default: [:]].updateValue(user, forKey: start) ?? user == user else {
                    throw failure("two functions use the jump table at \(start)")
                }
            }
        }
        for (data, users) in users {
            var cuts = Set(divided[data]?.starts ?? [])
            for (start, user) in users.sorted(by: { $0.key < $1.key }) {
                var end = start
                while let entry = entries[data]?[end], end == start || users[end] == nil, entry.section == user[0],
                    function(entry.addend - (end - start), in: entry.section) == user
                {
                    end += 4
                }
                tables[data, default: []].append(start..<end)
                cuts = cuts.filter { $0 <= start || $0 >= end }.union([start, end])
            }
            divided[data]?.starts = cuts.filter { $0 < object.sections[data].size }.sorted()
        }
    }

    // MARK: Instructions

    /// Reads the disassembly: lines of an address, a colon, and an instruction.
    private mutating func findReferences(of text: ELFObject.Section, in disassembly: Data) throws {
        if processor.tableEntry == nil { return try findArmReferences(of: text) }
        let relocated = Set((relocations[text.index] ?? []).map(\.offset))
        var previous: (address: Int, text: Substring)?
        var last = 0
        func finish(at next: Int) throws {
            guard let (address, words) = previous else { return }
            guard next > address, next <= text.size else { throw failure("the disassembly is out of order") }
            last = next
            if let found = try reference(of: words, in: text, address..<next, relocated) { references.append(found) }
        }
        for line in String(decoding: disassembly, as: UTF8.self).split(separator: "\n") where line.first == " " {
            guard let colon = line.firstIndex(of: ":"), let address = Int(line[..<colon].drop { $0 == " " }, radix: 16)
            else { continue }
            try finish(at: address)
            previous = (address, line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" })
        }
        try finish(at: text.size)
        guard last == text.size else { throw failure("the disassembly is not of this object") }
    }

    /// The place in `.text` that an instruction names without a relocation, or nil.
    private func reference(
        of instruction: Substring, in text: ELFObject.Section, _ bytes: Range<Int>, _ relocated: Set<Int>
    ) throws -> Reference? {
        let words = instruction.split(separator: "\t", maxSplits: 1)
        guard words.count == 2, let name = words.first, let operands = words.last else { return nil }
        let isBranch = name.hasPrefix("j") || name.hasPrefix("call") || name.hasPrefix("loop")
        guard isBranch ? !operands.hasPrefix("*") : operands.contains("(%rip)") else { return nil }
        if bytes.dropFirst().contains(where: relocated.contains) { return nil }
        guard isBranch || name.hasPrefix("lea") else { throw failure("\(instruction) at \(bytes) names .text") }
        let isShort = isBranch && bytes.count == 2
        let place = bytes.upperBound - (isShort ? 1 : 4)
        let target = bytes.upperBound + (try image.signed(at: text.offset + place, bytes: isShort ? 1 : 4))
        guard !isBranch || operands.hasPrefix("0x\(String(target, radix: 16))") else {
            throw failure("\(instruction) at \(bytes) does not lead to \(target)")
        }
        return Reference(
            offset: place, target: target, type: isBranch ? processor.branch : processor.load, isFar: !isShort)
    }

    /// The places that arm64's instructions of 4 bytes name (Arm's architecture reference manual, C4.1).
    private mutating func findArmReferences(of text: ELFObject.Section) throws {
        let relocated = Set((relocations[text.index] ?? []).map(\.offset))
        for offset in stride(from: 0, to: text.size, by: 4) where !relocated.contains(offset) {
            let word = try image.number(at: text.offset + offset, bytes: 4)
            /// A signed number of `width` bits from the bit `low` on.
            func signed(_ low: Int, _ width: Int) -> Int { ((word >> low) << (64 - width)) >> (64 - width) }
            let (distance, type): (Int, Int)
            if word & 0x7c00_0000 == 0x1400_0000 {  // b, bl
                (distance, type) = (4 * signed(0, 26), word >> 31 == 1 ? processor.branch + 1 : processor.branch)
            } else if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000
                || word & 0x3b00_0000 == 0x1800_0000
            {  // b.cond, cbz and cbnz, ldr
                (distance, type) = (4 * signed(5, 19), 0)
            } else if word & 0x7e00_0000 == 0x3600_0000 {  // tbz and tbnz
                (distance, type) = (4 * signed(5, 14), 0)
            } else if word & 0x9f00_0000 == 0x1000_0000 {  // adr
                (distance, type) = (signed(5, 19) << 2 | word >> 29 & 3, processor.load)
            } else {
                continue
            }
            references.append(Reference(offset: offset, target: offset + distance, type: type, isFar: type != 0))
        }
    }

    // MARK: Relocations

    /// The object with a section for each piece.
    mutating func split(disassembly: Data?) throws -> Image {
        if let disassembly {
            let found = try object.sections.filter {
                try $0.type == ELFObject.bits && $0.size > 0 && object.name(of: $0, in: image) == ".text"
            }
            guard found.count == 1, let text = found.first else {
                throw failure("it has \(found.count) sections .text")
            }
            self.text = text
            try findReferences(of: text, in: disassembly)
            divideText(text)
        }
        try divideData()
        divided = divided.filter { $0.value.starts.count > 1 || $0.key == text?.index }
        guard !divided.isEmpty else { return image }
        var output = SplitObject(
            image: image, object: object, symbolTable: symbolTable, symbols: symbols, pieces: divided)
        for (section, list) in relocations {
            for relocation in list { try output.add(moved(relocation, of: section, to: output), of: section) }
        }
        if let text { distances[text.index] = references }
        for (section, list) in distances {
            guard let pieces = divided[section] else { continue }
            for reference in list {
                guard let from = pieces.index(at: reference.offset), let to = pieces.index(at: reference.target)
                else { throw failure("the instruction at \(reference.offset) leaves .text") }
                guard from != to else { continue }
                let bias = isCode(section) ? processor.bias : 0
                try output.add(
                    Relocation(
                        offset: reference.offset, symbol: output.symbol(of: section, piece: to),
                        type: reference.type, addend: reference.target - pieces.starts[to] - bias),
                    of: section)
            }
        }
        return try output.write(symbols)
    }

    /// A relocation that names a section of pieces names one of these instead.
    private func moved(_ old: Relocation, of section: Int, to output: SplitObject) throws -> Relocation {
        var relocation = old
        guard let named = self.section(ofSymbol: old.symbol), let pieces = divided[named] else {
            relocation.symbol = output.number(ofSymbol: old.symbol)
            return relocation
        }
        var target = old.addend
        let table = isTable(section, old.offset)
        if isCode(section) { target += processor.bias }
        if let table { target -= old.offset - table.lowerBound }
        if isCode(section), let table = isTable(named, target), table.lowerBound != target {
            // An operand follows the distance, so that the place is after the table.
            target = table.upperBound
            guard target - old.addend <= processor.bias + processor.operand else {
                throw failure("the instruction at \(old.offset) of section \(section) names the inside of a jump table")
            }
        }
        guard let piece = pieces.index(at: target) else {
            throw failure("the relocation at \(old.offset) of section \(section) names the outside of section \(named)")
        }
        let isFunction = target.isMultiple(of: processor.alignment) || output.functions.contains(target)
        if named == text?.index, table == nil, !isFunction {
            throw failure("the relocation at \(old.offset) of section \(section) names no function")
        }
        relocation.symbol = output.symbol(of: named, piece: piece)
        relocation.addend -= pieces.starts[piece]
        return relocation
    }
}
