// SPDX-License-Identifier: Apache-2.0

// unretain: copies ELF objects or static libraries and lets the linker drop what nothing uses.
// usage: unretain INPUT OUTPUT [INPUT OUTPUT]...
//
// The Swift compiler sets SHF_GNU_RETAIN (1 << 21, of the GNU gABI) on every public function, because a debugger or a
// library that is loaded later may look it up. So `--gc-sections` keeps the whole standard library. In a
// program that loads no Swift library, a function that nothing references is never called.
//
// The runtime finds some records by their place, in sections named swift5_*:
// * A conformance (swift5_protocol_conformances) or a type (swift5_type_metadata) is looked up for a type that the
//   program has. So the record gets SHF_LINK_ORDER to the type's descriptor: the linker keeps it if it keeps the
//   descriptor. Without this, each conformance of each type of the standard library is kept, with all its functions.
//   Types with a short mangled name, such as Int, are looked up by that name, so their records keep the flag.
//   Protocols (swift5_protocols) are kept in the same way.
// * swift5_fieldmd and its strings are found through the type's descriptor. swift5_assocty, swift5_builtin,
//   swift5_capture and swift5_mpenum are for debuggers that look into the process. All of them lose the flag.
// * All others keep it.
// swift5_backtrace is 64 KiB of zeros, which need no place in a file.

import Foundation

extension Image {
    /// Changes the object at `base`. Anything else than an ELF object of 64 bits stays as it is.
    /// - Returns: the number of sections that were changed.
    mutating func unretainObject(at base: Int, size: Int) throws -> Int {
        guard size >= 64, Array(bytes[base..<base + 6]) == [0x7f, 0x45, 0x4c, 0x46, 2, 1] else { return 0 }
        let object = try ELFObject(in: self, at: base)
        let names = try object.descriptors(in: self)
        var changed = 0
        for section in object.sections {
            let retained = section.flags & ELFObject.retain != 0
            if retained, try object.isDroppable(section, in: self) {
                set(section.flags & ~ELFObject.retain, at: section.header + 8, bytes: 8)
                changed += 1
            } else if retained, let descriptor = try object.typeDescriptor(ofRecord: section, in: self, names) {
                set(section.flags & ~ELFObject.retain | ELFObject.linkOrder, at: section.header + 8, bytes: 8)
                set(descriptor, at: section.header + 40, bytes: 4)
                changed += 1
            } else if section.type == ELFObject.bits, object.relocations[section.index] == nil,
                try object.name(of: section, in: self) == "swift5_backtrace",
                bytes[section.offset..<section.offset + section.size].allSatisfy({ $0 == 0 })
            {
                set(ELFObject.noBits, at: section.header + 4, bytes: 4)
                changed += 1
            }
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

extension ELFObject {
    /// Whether the linker may drop the section if nothing references it.
    func isDroppable(_ section: Section, in image: Image) throws -> Bool {
        let name = try name(of: section, in: image)
        return !name.hasPrefix("swift5_")
            || ["swift5_fieldmd", "swift5_assocty", "swift5_builtin", "swift5_capture", "swift5_mpenum"].contains(name)
    }

    /// The symbols of the descriptors of types and protocols, by their section and offset.
    func descriptors(in image: Image) throws -> [[Int]: String] {
        var names: [[Int]: String] = [:]
        for table in sections where table.type == ELFObject.symbolTable {
            for symbol in stride(from: table.offset, to: table.offset + table.size, by: 24)
            where try image.number(at: symbol + 4, bytes: 1) & 15 == 1 {
                let name = try image.text(at: sections[table.link].offset + image.number(at: symbol, bytes: 4))
                guard name.hasSuffix("Mn") || name.hasSuffix("Mp") else { continue }
                names[[try image.number(at: symbol + 6, bytes: 2), try image.number(at: symbol + 8, bytes: 8)]] = name
            }
        }
        return names
    }

    /// The section of the descriptor of the type that a record is about, or nil if the record must be kept.
    func typeDescriptor(ofRecord record: Section, in image: Image, _ names: [[Int]: String]) throws -> Int? {
        guard record.size == 4 else { return nil }
        let type: Target?
        switch try name(of: record, in: image) {
        case "swift5_type_metadata", "swift5_type_metadata_2", "swift5_protocols":
            type = try target(of: record.index, at: 0, in: image, names)
        case "swift5_protocol_conformances":
            // Its second field is the type (TargetProtocolConformanceDescriptor in Swift's ABI).
            guard let conformance = try target(of: record.index, at: 0, in: image, names) else { return nil }
            type = try target(of: conformance.section, at: conformance.offset + 4, in: image, names)
        default: return nil
        }
        guard let type, type.symbol.hasPrefix("$s"), ["Mn", "Mp"].contains(type.symbol.suffix(2)) else { return nil }
        // Short names (`Si` is Int, `ScT` is Task), and types of C (`So`), which each object describes again.
        let mangled = type.symbol.dropFirst(2).dropLast(2)
        if mangled.hasPrefix("So") || mangled.hasPrefix("SC") { return nil }
        if mangled.hasPrefix("S"), mangled.count <= (mangled.hasPrefix("Sc") ? 3 : 2) { return nil }
        return type.section
    }

    private struct Target {
        let symbol: String
        let section, offset: Int
    }

    /// What the relocation of a field refers to, if that is in this object.
    private func target(
        of section: Int, at offset: Int, in image: Image, _ names: [[Int]: String]
    ) throws -> Target? {
        guard let table = relocations[section], sections.indices.contains(table.link) else { return nil }
        let symbols = sections[table.link]
        guard sections.indices.contains(symbols.link) else { return nil }
        for entry in stride(from: table.offset, to: table.offset + table.size, by: 24)
        where try image.number(at: entry, bytes: 8) == offset {
            let symbol = symbols.offset + 24 * (try image.number(at: entry + 12, bytes: 4))
            let target = try image.number(at: symbol + 6, bytes: 2)
            // 0 is another object's symbol; numbers from 0xff00 on are no sections.
            guard target != 0, target < 0xff00, target < sections.count else { return nil }
            // Descriptors lie after their symbols. A negative addend (a number of two's complement) is none of one.
            let addend = entry + 16
            guard image.bytes[addend + 7] < 0x80 else { return nil }
            let place = try image.number(at: symbol + 8, bytes: 8) + image.number(at: addend, bytes: 8)
            let isSection = try image.number(at: symbol + 4, bytes: 1) & 15 == 3
            return Target(
                symbol: isSection
                    ? names[[target, place & ~3]] ?? ""
                    : try image.text(at: sections[symbols.link].offset + image.number(at: symbol, bytes: 4)),
                section: target, offset: place)
        }
        return nil
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
