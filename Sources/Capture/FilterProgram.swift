// SPDX-License-Identifier: Apache-2.0

/// A packet filter: a program of the classic BSD packet filter (bpf(4), McCanne and Jacobson 1993), as libpcap compiles
/// them. Programs come from clients: one that is valid ends after one pass, reads no byte outside the frame, and
/// changes nothing.
package struct FilterProgram: Equatable, Sendable {
    /// One instruction (struct sock_filter).
    package struct Instruction: Equatable, Sendable {
        /// What it does; see `FilterOperation`.
        package var code: UInt16
        /// Instructions to skip if a condition holds.
        package var jumpTrue: UInt8
        /// Instructions to skip if it does not.
        package var jumpFalse: UInt8
        /// The constant.
        package var constant: UInt32

        package init(_ code: UInt16, _ jumpTrue: UInt8 = 0, _ jumpFalse: UInt8 = 0, _ constant: UInt32 = 0) {
            self.code = code
            self.jumpTrue = jumpTrue
            self.jumpFalse = jumpFalse
            self.constant = constant
        }

        /// Bytes of an instruction on the control socket.
        static let size = 8
    }

    /// Why a program is refused.
    package struct Refusal: Error, Equatable, CustomStringConvertible {
        package let description: String
    }

    /// Instructions of the longest program (BPF_MAXINSNS of Linux).
    package static let maximumLength = 4096
    /// Words of memory that a program has (BPF_MEMWORDS).
    static let memoryWords = 16

    /// All of them are valid.
    package let instructions: [Instruction]

    /// - Throws: which instruction is not valid, and why.
    package init(_ instructions: [Instruction]) throws(Refusal) {
        guard !instructions.isEmpty, instructions.count <= FilterProgram.maximumLength else {
            throw Refusal(
                description: "a filter has 1 to \(FilterProgram.maximumLength) instructions, not \(instructions.count)")
        }
        for (index, instruction) in instructions.enumerated() {
            let left = instructions.count - 1 - index
            if let reason = FilterProgram.fault(of: instruction, left: left) {
                throw Refusal(description: "instruction \(index) of the filter \(reason)")
            }
        }
        self.instructions = instructions
    }

    /// Parses the form of the control socket: eight bytes an instruction, big-endian: code, both jumps, constant.
    package init(parsing bytes: [UInt8]) throws(Refusal) {
        guard bytes.count % Instruction.size == 0 else {
            throw Refusal(description: "a filter has \(Instruction.size) bytes for each instruction")
        }
        guard bytes.count <= FilterProgram.maximumLength * Instruction.size else {
            throw Refusal(description: "a filter has \(FilterProgram.maximumLength) instructions at most")
        }
        var instructions: [Instruction] = []
        for start in stride(from: 0, to: bytes.count, by: Instruction.size) {
            let constant = bytes[start + 4..<start + 8].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            instructions.append(
                Instruction(
                    UInt16(bytes[start]) << 8 | UInt16(bytes[start + 1]), bytes[start + 2], bytes[start + 3], constant))
        }
        try self.init(instructions)
    }

    /// The form of the control socket.
    package var bytes: [UInt8] {
        instructions.flatMap { one in
            [UInt8(one.code >> 8), UInt8(truncatingIfNeeded: one.code), one.jumpTrue, one.jumpFalse]
                + (0..<4).map { UInt8(truncatingIfNeeded: one.constant >> UInt32(24 - 8 * $0)) }
        }
    }

    /// What is wrong with an instruction; nil for nothing.
    /// - Parameter left: instructions after it.
    private static func fault(of instruction: Instruction, left: Int) -> String? {
        guard let operation = FilterOperation(rawValue: instruction.code) else {
            return "has the unknown code \(instruction.code)"
        }
        switch operation {
        case .jump: if Int(instruction.constant) >= left { return "jumps out of the program" }
        case .jumpEqual, .jumpGreater, .jumpNotLess, .jumpAny, .jumpEqualX, .jumpGreaterX, .jumpNotLessX, .jumpAnyX:
            if Int(max(instruction.jumpTrue, instruction.jumpFalse)) >= left { return "jumps out of the program" }
        case .loadMemory, .loadMemoryX, .store, .storeX:
            if instruction.constant >= memoryWords { return "uses a word outside the memory" }
        case .divide, .modulo: if instruction.constant == 0 { return "divides by 0" }
        case .leftShift, .rightShift: if instruction.constant >= 32 { return "shifts by more than 31 bits" }
        default: break
        }
        // Without backward jumps, every path ends at the last instruction if not before.
        if left == 0 && operation != .returnConstant && operation != .returnA { return "does not return" }
        return nil
    }
}

/// The codes of instructions: class, size or operation, and mode or source (bpf(4)).
enum FilterOperation: UInt16, CaseIterable {
    case loadWord = 0x20
    case loadHalf = 0x28
    case loadByte = 0x30
    case loadWordIndexed = 0x40
    case loadHalfIndexed = 0x48
    case loadByteIndexed = 0x50
    case loadConstant = 0x00
    case loadMemory = 0x60
    case loadLength = 0x80
    case loadConstantX = 0x01
    case loadMemoryX = 0x61
    case loadLengthX = 0x81
    /// Four times the low half of a byte: the length of an IPv4 header.
    case loadHeaderLengthX = 0xb1
    case store = 0x02
    case storeX = 0x03
    case add = 0x04
    case subtract = 0x14
    case multiply = 0x24
    case divide = 0x34
    case or = 0x44
    case and = 0x54
    case leftShift = 0x64
    case rightShift = 0x74
    case negate = 0x84
    case modulo = 0x94
    case xor = 0xa4
    case addX = 0x0c
    case subtractX = 0x1c
    case multiplyX = 0x2c
    case divideX = 0x3c
    case orX = 0x4c
    case andX = 0x5c
    case leftShiftX = 0x6c
    case rightShiftX = 0x7c
    case moduloX = 0x9c
    case xorX = 0xac
    case jump = 0x05
    case jumpEqual = 0x15
    case jumpGreater = 0x25
    case jumpNotLess = 0x35
    case jumpAny = 0x45
    case jumpEqualX = 0x1d
    case jumpGreaterX = 0x2d
    case jumpNotLessX = 0x3d
    case jumpAnyX = 0x4d
    case returnConstant = 0x06
    case returnA = 0x16
    case copyToX = 0x07
    case copyFromX = 0x87
}
