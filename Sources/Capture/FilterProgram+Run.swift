// SPDX-License-Identifier: Apache-2.0
import Wire

extension FilterProgram {
    /// The registers of a program that runs.
    private struct State {
        var a: UInt32 = 0
        var x: UInt32 = 0
        var memory = SIMD16<UInt32>()
    }

    /// Runs the program on a frame. Returns how many bytes of the frame it selects, 0 for none. A read beyond the
    /// frame, and a division by 0, end the program with 0, as in kernels.
    package func run(_ frame: RawSpan) -> UInt32 {
        var state = State()
        var position = 0
        // The jumps were checked: they lead forward, and not beyond the last instruction, which returns.
        while position < instructions.count {
            let instruction = instructions[position]
            position += 1
            guard let operation = FilterOperation(rawValue: instruction.code) else { return 0 }
            let constant = instruction.constant
            switch operation {
            case .returnConstant: return constant
            case .returnA: return state.a
            case .jump: position += Int(constant)
            case .jumpEqual, .jumpGreater, .jumpNotLess, .jumpAny, .jumpEqualX, .jumpGreaterX, .jumpNotLessX,
                .jumpAnyX:
                let holds = FilterProgram.compare(operation, state, constant)
                position += Int(holds ? instruction.jumpTrue : instruction.jumpFalse)
            case .loadWord, .loadHalf, .loadByte, .loadWordIndexed, .loadHalfIndexed, .loadByteIndexed,
                .loadHeaderLengthX:
                guard FilterProgram.load(operation, constant, from: frame, &state) else { return 0 }
            case .loadConstant: state.a = constant
            case .loadMemory: state.a = state.memory[Int(constant)]
            case .loadLength: state.a = UInt32(clamping: frame.byteCount)
            case .loadConstantX: state.x = constant
            case .loadMemoryX: state.x = state.memory[Int(constant)]
            case .loadLengthX: state.x = UInt32(clamping: frame.byteCount)
            case .store: state.memory[Int(constant)] = state.a
            case .storeX: state.memory[Int(constant)] = state.x
            case .copyToX: state.x = state.a
            case .copyFromX: state.a = state.x
            case .negate: state.a = 0 &- state.a
            default:
                guard let result = FilterProgram.calculate(operation, state, constant) else { return 0 }
                state.a = result
            }
        }
        return 0
    }

    private static func compare(_ operation: FilterOperation, _ state: State, _ constant: UInt32) -> Bool {
        switch operation {
        case .jumpEqual: state.a == constant
        case .jumpGreater: state.a > constant
        case .jumpNotLess: state.a >= constant
        case .jumpAny: state.a & constant != 0
        case .jumpEqualX: state.a == state.x
        case .jumpGreaterX: state.a > state.x
        case .jumpNotLessX: state.a >= state.x
        default: state.a & state.x != 0
        }
    }

    /// Reads from the frame. Returns false if that is beyond its end.
    private static func load(
        _ operation: FilterOperation, _ constant: UInt32, from frame: RawSpan, _ state: inout State
    ) -> Bool {
        let isIndexed =
            operation == .loadWordIndexed || operation == .loadHalfIndexed || operation == .loadByteIndexed
        let offset = Int(constant) + (isIndexed ? Int(state.x) : 0)
        let size =
            switch operation {
            case .loadWord, .loadWordIndexed: 4
            case .loadHalf, .loadHalfIndexed: 2
            default: 1
            }
        guard frame.byteCount >= size, offset <= frame.byteCount - size else { return false }
        switch operation {
        case .loadHeaderLengthX: state.x = UInt32(frame.byte(at: offset) & 0xf) << 2
        case .loadWord, .loadWordIndexed: state.a = frame.big32(at: offset)
        case .loadHalf, .loadHalfIndexed: state.a = UInt32(frame.big16(at: offset))
        default: state.a = UInt32(frame.byte(at: offset))
        }
        return true
    }

    /// The result of an arithmetic operation; nil for a division by 0. A shift by 32 bits or more leaves none.
    private static func calculate(_ operation: FilterOperation, _ state: State, _ constant: UInt32) -> UInt32? {
        switch operation {
        case .add: state.a &+ constant
        case .addX: state.a &+ state.x
        case .subtract: state.a &- constant
        case .subtractX: state.a &- state.x
        case .multiply: state.a &* constant
        case .multiplyX: state.a &* state.x
        case .divide: constant == 0 ? nil : state.a / constant
        case .divideX: state.x == 0 ? nil : state.a / state.x
        case .modulo: constant == 0 ? nil : state.a % constant
        case .moduloX: state.x == 0 ? nil : state.a % state.x
        case .or: state.a | constant
        case .orX: state.a | state.x
        case .and: state.a & constant
        case .andX: state.a & state.x
        case .xor: state.a ^ constant
        case .xorX: state.a ^ state.x
        case .leftShift: state.a << constant
        case .leftShiftX: state.a << state.x
        case .rightShift: state.a >> constant
        default: state.a >> state.x
        }
    }
}
