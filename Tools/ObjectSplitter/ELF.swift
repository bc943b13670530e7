// SPDX-License-Identifier: Apache-2.0

// What `unretain` and `split` read of ELF objects.

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
        var value: UInt64 = 0
        for index in (offset..<offset + count).reversed() { value = value << 8 | UInt64(bytes[index]) }
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

    mutating func set(_ value: Int, at offset: Int, bytes count: Int) {
        for index in 0..<count { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
    }

    /// A number of two's complement.
    func signed(at offset: Int, bytes count: Int) throws -> Int {
        let low = try number(at: offset, bytes: count - 1)
        let high = try number(at: offset + count - 1, bytes: 1)
        return Int(Int8(truncatingIfNeeded: high)) << (8 * (count - 1)) | low
    }

    mutating func append(_ value: Int, bytes count: Int) {
        for index in 0..<count { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
    }

    mutating func align() { bytes += Array(repeating: 0, count: -bytes.count & 7) }
}

/// The sections of an ELF object (gABI, "Sections"), with offsets into the whole file.
struct ELFObject {
    static let (bits, symbolTable, rela, noBits, group) = (1, 2, 4, 8, 17)
    static let (executable, mergeable, linkOrder, inGroup, retain) = (1 << 2, 1 << 4, 1 << 7, 1 << 9, 1 << 21)

    struct Section {
        let index, header, nameOffset, type, flags, offset, size, link, info: Int
    }

    let sections: [Section]
    /// The relocations of a section, by its index.
    let relocations: [Int: Section]
    private let base: Int
    private let names: Int

    init(in image: Image, at base: Int) throws {
        self.base = base
        let table = base + (try image.number(at: base + 0x28, bytes: 8))
        let entry = try image.number(at: base + 0x3a, bytes: 2)
        guard entry == 64 else {
            throw Failure(description: "\(image.name): section headers of \(entry) bytes, not of 64")
        }
        var count = try image.number(at: base + 0x3c, bytes: 2)
        var names = try image.number(at: base + 0x3e, bytes: 2)
        // More than 65,279 sections: the numbers are in the first header.
        if count == 0 { count = try image.number(at: table + 32, bytes: 8) }
        if names == 0xffff { names = try image.number(at: table + 40, bytes: 4) }
        sections = try (0..<count).map { index in
            let header = table + index * 64
            func field(_ offset: Int, _ bytes: Int) throws -> Int {
                try image.number(at: header + offset, bytes: bytes)
            }
            let section = Section(
                index: index, header: header, nameOffset: try field(0, 4), type: try field(4, 4),
                flags: try field(8, 8), offset: base + (try field(24, 8)), size: try field(32, 8),
                link: try field(40, 4), info: try field(44, 4))
            guard [0, ELFObject.noBits].contains(section.type) || section.size <= image.bytes.count - section.offset
            else {
                throw Failure(description: "\(image.name): section \(index) is beyond the end of the file")
            }
            return section
        }
        guard names < count else { throw Failure(description: "\(image.name): its sections have no names") }
        self.names = sections[names].offset
        relocations = Dictionary(
            sections.filter { $0.type == ELFObject.rela }.map { ($0.info, $0) }, uniquingKeysWith: { first, _ in first }
        )
    }

    func name(of section: Section, in image: Image) throws -> String {
        try image.text(at: names + section.nameOffset)
    }
}
