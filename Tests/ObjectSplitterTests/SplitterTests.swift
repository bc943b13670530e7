// SPDX-License-Identifier: Apache-2.0
import Foundation
import Platform
import TestSupport
import Testing

@testable import ObjectSplitter

/// What `split` makes of an object: the linker drops what nothing uses, and the program does the same.
@Suite struct SplitterTests {
    /// A program for x86-64 that ends with status 42. `unused` and `spare` have bytes that no other part has. The
    /// assembler leaves no relocation for the branches. `near` ends in a branch of two bytes to `behind`.
    private static let x86 = """
        .text
        .globl _start
        .p2align 4
        .type _start, @function
        _start:
            call near
            movl %eax, %edi
            movl $60, %eax
            syscall
        .size _start, .-_start
        .p2align 4
        .type unused, @function
        unused:
            movabsq $0x1122334455667788, %rax
            leaq spare(%rip), %rcx
            call near
            ret
        .size unused, .-unused
        .p2align 4
        .type near, @function
        near:
            movl value(%rip), %eax
            jmp behind
        .size near, .-near
        .p2align 4
        .type behind, @function
        behind:
            addl $2, %eax
            ret
        .size behind, .-behind
        .data
        .globl spare
        .type spare, @object
        spare: .quad 0x8877665544332211
        .size spare, 8
        .globl value
        .type value, @object
        value: .quad 40
        .size value, 8
        .section .note.GNU-stack, "", @progbits
        """

    /// The same for arm64, whose branches all have relocations that reach.
    private static let arm64 = """
        .text
        .globl _start
        .p2align 2
        .type _start, %function
        _start:
            bl near
            mov x8, #93
            svc #0
        .size _start, .-_start
        .type unused, %function
        unused:
            .quad 0x1122334455667788
            b near
        .size unused, .-unused
        .type near, %function
        near:
            mov x0, #42
            cbz x0, behind
            ret
        .size near, .-near
        .type behind, %function
        behind:
            ret
        .size behind, .-behind
        .section .note.GNU-stack, "", %progbits
        """

    private static let unused: [UInt8] = [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]
    private static let spare = Array(unused.reversed())

    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func run(_ arguments: String...) throws -> String {
        let result = try ChildProcess.run(arguments)
        #expect(result.succeeded, "\(arguments): \(result.error)")
        return result.output
    }

    private func assemble(_ text: String, for processor: String) throws -> (Image, disassembly: Data) {
        let source = folder.file("source.s"), object = folder.file("whole.o")
        try Files.replace(source, Array((text + "\n").utf8))
        _ = try run("clang", "--target=\(processor)-unknown-linux-gnu", "-c", source, "-o", object)
        let disassembly = try run(
            "llvm-objdump", "--disassemble", "--no-show-raw-insn", "--section=.text", object)
        return (Image(bytes: try Files.read(object), name: object), Data(disassembly.utf8))
    }

    private func split(_ image: Image, _ disassembly: Data?) throws -> Image {
        var splitter = try #require(try Splitter(image))
        return try splitter.split(disassembly: disassembly)
    }

    /// Links an object, dropping sections that nothing uses.
    private func link(_ image: Image, as name: String) throws -> [UInt8] {
        try Files.replace(folder.file(name + ".o"), image.bytes)
        _ = try run(
            "ld.lld", "--gc-sections", "--entry=_start", "-o", folder.file(name), folder.file(name + ".o"))
        return try Files.read(folder.file(name))
    }

    /// The sizes of the sections of a name that have bytes.
    private func sizes(of name: String, in image: Image) throws -> [Int] {
        let object = try ELFObject(in: image, at: 0)
        return try object.sections.filter { $0.type == ELFObject.bits && $0.size > 0 }.filter {
            try object.name(of: $0, in: image) == name
        }.map(\.size)
    }

    private static func has(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
        bytes.indices.contains { bytes[$0...].starts(with: part) }
    }

    @Test func linkerDropsWhatIsUnused() throws {
        let (whole, disassembly) = try assemble(SplitterTests.x86, for: "x86_64")
        let before = try link(whole, as: "before")
        #expect(SplitterTests.has(before, SplitterTests.unused) && SplitterTests.has(before, SplitterTests.spare))
        let divided = try split(whole, disassembly)
        let after = try link(divided, as: "after")
        #expect(!SplitterTests.has(after, SplitterTests.unused), "the function is gone")
        #expect(!SplitterTests.has(after, SplitterTests.spare), "the data is gone")
        guard SystemName.current.architecture == "x86_64" else { return }
        for name in ["before", "after"] {
            _ = try ChildProcess.run(["chmod", "755", folder.file(name)])
            #expect(try ChildProcess.run([folder.file(name)]).termination == .exited(42), "\(name)")
        }
    }

    @Test func shortBranchKeepsFunctionsTogether() throws {
        let (whole, disassembly) = try assemble(SplitterTests.x86, for: "x86_64")
        let sizes = try sizes(of: ".text", in: try split(whole, disassembly))
        #expect(sizes.count == 3, "near and behind are one piece")
        #expect(try sizes.reduce(0, +) == self.sizes(of: ".text", in: whole).reduce(0, +), "no byte is lost")
    }

    @Test func branchesOfArmAreFound() throws {
        let (whole, disassembly) = try assemble(SplitterTests.arm64, for: "aarch64")
        let divided = try split(whole, disassembly)
        #expect(try sizes(of: ".text", in: divided).count == 3, "near and behind are one piece")
        #expect(!SplitterTests.has(try link(divided, as: "after"), SplitterTests.unused))
    }

    @Test func objectWithoutDisassemblyKeepsItsCode() throws {
        let (whole, _) = try assemble(SplitterTests.x86, for: "x86_64")
        let divided = try split(whole, nil)
        #expect(try sizes(of: ".text", in: divided) == self.sizes(of: ".text", in: whole))
        #expect(try sizes(of: ".data", in: divided) == [8, 8])
    }

    @Test func anotherDisassemblyIsRefused() throws {
        let (whole, disassembly) = try assemble(SplitterTests.x86, for: "x86_64")
        let text = String(decoding: disassembly, as: UTF8.self)
        for wrong in ["", text.replacingOccurrences(of: "jmp\t0x", with: "jmp\t0x1")] {
            #expect(wrong != text)
            #expect(throws: Failure.self) { try split(whole, Data(wrong.utf8)) }
        }
    }

    @Test func damagedObjectIsRefused() throws {
        let (whole, _) = try assemble(SplitterTests.x86, for: "x86_64")
        #expect(try Splitter(Image(bytes: Array("!<arch>\n".utf8), name: "archive")) == nil)
        // The last two fields of the last section's header are not read.
        for length in 0..<whole.bytes.count - 16 {
            let part = Image(bytes: Array(whole.bytes[..<length]), name: "part")
            guard let splitter = try? Splitter(part) else { continue }
            // The table of sections is at the end, so that no part of the object has it.
            Issue.record("\(length) bytes are taken for \(splitter.object.sections.count) sections")
        }
        var other = whole
        other.set(3, at: 18, bytes: 2)
        #expect(throws: Failure.self) { try Splitter(other) }
    }
}
