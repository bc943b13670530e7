// SPDX-License-Identifier: Apache-2.0

// What `split` writes: the bytes of an object, and after them new tables of its relocations, symbols and sections.

/// An object whose sections are divided. Each piece becomes a section of the same name and bytes, with a symbol. The
/// old sections stay, with no bytes.
struct SplitObject {
    /// The first bytes of the functions in sections that are divided.
    let functions: Set<Int>
    private let image: Image
    private let object: ELFObject
    private let symbolTable: ELFObject.Section
    private let pieces: [Int: Pieces]
    /// The index of the first symbol of a section's pieces. These follow the local symbols.
    private let firstSymbol: [Int: Int]
    /// How many symbols there are for pieces.
    private let added: Int
    /// By the index of the section, then by the piece.
    private var ofPieces: [Int: [[Relocation]]]
    private var ofOthers: [Int: [Relocation]] = [:]

    init(image: Image, object: ELFObject, symbolTable: ELFObject.Section, symbols: [Symbol], pieces: [Int: Pieces]) {
        (self.image, self.object, self.symbolTable, self.pieces) = (image, object, symbolTable, pieces)
        functions = Set(symbols.filter { $0.isFunction && pieces[$0.section] != nil }.map(\.value))
        var (first, next) = ([Int: Int](), symbolTable.info)
        for section in pieces.keys.sorted() {
            first[section] = next
            next += pieces[section]?.starts.count ?? 0
        }
        (firstSymbol, added) = (first, next - symbolTable.info)
        ofPieces = pieces.mapValues { Array(repeating: [], count: $0.starts.count) }
    }

    /// The new number of a symbol of the object.
    func number(ofSymbol old: Int) -> Int { old < symbolTable.info ? old : old + added }

    func symbol(of section: Int, piece: Int) -> Int { (firstSymbol[section] ?? 0) + piece }

    /// Adds a relocation, whose symbol is a new number.
    mutating func add(_ relocation: Relocation, of section: Int) throws {
        guard let divided = pieces[section] else { return ofOthers[section, default: []].append(relocation) }
        guard let piece = divided.index(at: relocation.offset) else {
            throw Failure(description: "\(image.name): a relocation is outside section \(section)")
        }
        var relocation = relocation
        relocation.offset -= divided.starts[piece]
        ofPieces[section]?[piece].append(relocation)
    }

    func write(_ symbols: [Symbol]) throws -> Image {
        var output = image
        var headers = object.sections.map { Array(image.bytes[$0.header..<$0.header + 64]) }
        func set(_ value: Int, at offset: Int, bytes count: Int, of section: Int) {
            for index in 0..<count {
                headers[section][offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
            }
        }
        func place(_ section: Int, _ bytes: Range<Int>) {
            set(bytes.lowerBound, at: 24, bytes: 8, of: section)
            set(bytes.count, at: 32, bytes: 8, of: section)
        }
        func append(_ list: [Relocation]) -> Range<Int> {
            output.align()
            let start = output.bytes.count
            for relocation in list.sorted(by: { $0.offset < $1.offset }) {
                output.append(relocation.offset, bytes: 8)
                output.append(relocation.type, bytes: 4)
                output.append(relocation.symbol, bytes: 4)
                output.append(relocation.addend, bytes: 8)
            }
            return start..<output.bytes.count
        }
        for (section, table) in object.relocations.sorted(by: { $0.key < $1.key }) {
            place(table.index, append(ofOthers[section] ?? []))
        }
        for section in object.sections where section.type == ELFObject.group && section.info >= symbolTable.info {
            set(section.info + added, at: 44, bytes: 4, of: section.index)
        }
        /// The first of the sections of a section's pieces, and the others in their order.
        var sections: [Int: [Int]] = [:]
        for old in pieces.keys.sorted() {
            guard let divided = pieces[old], let lists = ofPieces[old] else { continue }
            let alignment = try image.number(at: divided.section.header + 48, bytes: 8)
            place(old, 0..<0)
            for (piece, list) in lists.enumerated() {
                let (start, number) = (divided.starts[piece], headers.count)
                sections[old, default: []].append(number)
                headers.append(headers[old])
                place(number, divided.section.offset + start..<divided.section.offset + divided.end(of: piece))
                // No more than what the place in the old section had.
                set(start == 0 ? alignment : min(start & -start, alignment), at: 48, bytes: 8, of: number)
                guard !list.isEmpty, let table = object.relocations[old] else { continue }
                headers.append(headers[table.index])
                place(number + 1, append(list))
                set(number, at: 44, bytes: 4, of: number + 1)
            }
        }
        guard headers.count < 0xff00 else {
            throw Failure(description: "\(image.name): \(headers.count) sections are more than a symbol can name")
        }

        output.align()
        place(symbolTable.index, output.bytes.count..<output.bytes.count + 24 * (symbols.count + added))
        set(symbolTable.info + added, at: 44, bytes: 4, of: symbolTable.index)
        var ofSections: [Symbol] = []
        for old in pieces.keys.sorted() {
            ofSections += (sections[old] ?? []).map { Symbol(name: 0, info: 3, section: $0, value: 0, size: 0) }
        }
        for var symbol in symbols[..<symbolTable.info] + ofSections + symbols[symbolTable.info...] {
            if let divided = pieces[symbol.section], let numbers = sections[symbol.section], !symbol.isSection {
                guard let piece = divided.index(at: symbol.value) else {
                    throw Failure(description: "\(image.name): a symbol is outside section \(symbol.section)")
                }
                symbol.section = numbers[piece]
                symbol.value -= divided.starts[piece]
            }
            output.append(symbol.name, bytes: 4)
            output.append(symbol.info, bytes: 2)
            output.append(symbol.section, bytes: 2)
            output.append(symbol.value, bytes: 8)
            output.append(symbol.size, bytes: 8)
        }
        output.align()
        output.set(output.bytes.count, at: 0x28, bytes: 8)
        output.set(headers.count, at: 0x3c, bytes: 2)
        for header in headers { output.bytes += header }
        return output
    }
}
