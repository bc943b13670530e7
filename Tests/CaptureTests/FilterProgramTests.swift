// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire

@testable import Capture

@Suite struct FilterProgramTests {
    private typealias Instruction = FilterProgram.Instruction

    private static func code(_ operation: FilterOperation) -> UInt16 { operation.rawValue }

    /// What tcpdump -d prints for `ip proto \tcp`.
    private static let tcp: [Instruction] = [
        Instruction(0x28, 0, 0, 12), Instruction(0x15, 0, 3, 0x0800), Instruction(0x30, 0, 0, 23),
        Instruction(0x15, 0, 1, 6), Instruction(0x06, 0, 0, 1000), Instruction(0x06, 0, 0, 0),
    ]

    private func run(_ program: FilterProgram, _ frame: [UInt8]) -> UInt32 { program.run(frame.rawSpan) }

    @Test func programSelectsFrames() throws {
        let program = try FilterProgram(FilterProgramTests.tcp)
        let one = Endpoint.guest(1, port: 80), two = Endpoint.guest(2, port: 81)
        #expect(run(program, Frames.tcp(.syn, from: one, to: two)) == 1000)
        #expect(run(program, Frames.udp(from: one, to: two)) == 0)
        #expect(run(program, [1, 2, 3]) == 0, "a read beyond the frame")
        #expect(run(program, []) == 0)
    }

    @Test func bytesComeBack() throws {
        let program = try FilterProgram(FilterProgramTests.tcp)
        #expect(try FilterProgram(parsing: program.bytes) == program)
        #expect(program.bytes.count == 48)
    }

    @Test func calculationsAreThoseOf32Bits() throws {
        let last = Instruction(FilterProgramTests.code(.returnA))
        func result(_ first: UInt32, _ operation: FilterOperation, _ second: UInt32, x: UInt32 = 0) throws -> UInt32 {
            let program = try FilterProgram([
                Instruction(FilterProgramTests.code(.loadConstantX), 0, 0, x),
                Instruction(FilterProgramTests.code(.loadConstant), 0, 0, first),
                Instruction(operation.rawValue, 0, 0, second), last,
            ])
            return run(program, [0])
        }
        #expect(try result(.max, .add, 2) == 1)
        #expect(try result(0, .subtract, 1) == .max)
        #expect(try result(1 << 31, .multiply, 2) == 0)
        #expect(try result(7, .divide, 2) == 3)
        #expect(try result(7, .divideX, 0, x: 0) == 0, "ends with 0")
        #expect(try result(7, .moduloX, 0, x: 0) == 0)
        #expect(try result(7, .modulo, 4) == 3)
        #expect(try result(1, .leftShiftX, 0, x: 32) == 0)
        #expect(try result(1, .rightShiftX, 0, x: .max) == 0)
        #expect(try result(5, .negate, 0) == 0 &- 5)
        #expect(try result(0, .loadLength, 0) == 1)
    }

    @Test func longestProgramIsBounded() throws {
        let last = Instruction(FilterProgramTests.code(.returnConstant), 0, 0, 1)
        let step = Instruction(FilterProgramTests.code(.add), 0, 0, 1)
        let longest = [Instruction](repeating: step, count: FilterProgram.maximumLength - 1) + [last]
        #expect(try run(FilterProgram(longest), [0]) == 1)
        #expect(throws: FilterProgram.Refusal.self) { try FilterProgram(longest + [last]) }
        #expect(throws: FilterProgram.Refusal.self) { try FilterProgram([]) }
        #expect(throws: FilterProgram.Refusal.self) { try FilterProgram(parsing: [0, 6, 0, 0, 0, 0, 0]) }
    }

    @Test func faultyProgramsAreRefused() {
        let last = Instruction(FilterProgramTests.code(.returnConstant), 0, 0, 1)
        let faults: [(Instruction, String)] = [
            (Instruction(0xffff), "unknown code"), (Instruction(FilterProgramTests.code(.jump), 0, 0, 1), "jumps out"),
            (Instruction(FilterProgramTests.code(.jump), 0, 0, .max), "jumps out"),
            (Instruction(FilterProgramTests.code(.jumpEqual), 1, 0, 0), "jumps out"),
            (Instruction(FilterProgramTests.code(.jumpAnyX), 0, 255, 0), "jumps out"),
            (Instruction(FilterProgramTests.code(.store), 0, 0, 16), "outside the memory"),
            (Instruction(FilterProgramTests.code(.loadMemoryX), 0, 0, .max), "outside the memory"),
            (Instruction(FilterProgramTests.code(.divide)), "divides by 0"),
            (Instruction(FilterProgramTests.code(.modulo)), "divides by 0"),
            (Instruction(FilterProgramTests.code(.leftShift), 0, 0, 32), "shifts"),
        ]
        for (fault, words) in faults {
            do throws(FilterProgram.Refusal) {
                _ = try FilterProgram([fault, last])
                Issue.record("\(fault) is accepted")
            } catch {
                #expect(error.description.contains(words) && error.description.contains("instruction 0"), "\(error)")
            }
        }
        #expect(throws: FilterProgram.Refusal.self) {
            try FilterProgram([last, Instruction(FilterProgramTests.code(.add), 0, 0, 1)])
        }
    }

    /// Random programs that are mostly valid.
    private static func randomProgram(_ random: inout SeededGenerator) -> [Instruction] {
        let count = Int.random(in: 1...24, using: &random)
        var program: [Instruction] = []
        for index in 0..<count {
            let left = count - 1 - index
            let operation = FilterOperation.allCases.randomElement(using: &random)!
            let constants: [UInt32] = [
                0, 1, 4, 12, 14, 15, 16, 31, 32, 60, 0x7fff_ffff, 0xffff_f000, .max,
                .random(in: 0...80, using: &random),
                .random(in: 0...UInt32.max, using: &random),
            ]
            var one = Instruction(operation.rawValue, 0, 0, constants.randomElement(using: &random)!)
            one.jumpTrue = UInt8.random(in: 0...UInt8(max(0, left)), using: &random)
            one.jumpFalse = UInt8.random(in: 0...UInt8(max(0, left)), using: &random)
            if operation == .jump { one.constant = UInt32.random(in: 0...UInt32(max(0, left)), using: &random) }
            program.append(one)
        }
        if Bool.random(using: &random) { program[count - 1] = Instruction(0x16) }
        return program
    }

    @Test(.enabled(if: LibpcapFilter.isInstalled, "libpcap is not installed"), arguments: Rounds.seeds(20))
    func resultsAreThoseOfLibpcap(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var runs = 0, selections = 0
        for _ in 0..<5000 {
            // libpcap begins with any memory, this interpreter with zeros.
            let clearing = (0..<16).map { Instruction(FilterProgramTests.code(.store), 0, 0, UInt32($0)) }
            let instructions = clearing + FilterProgramTests.randomProgram(&random)
            guard let program = try? FilterProgram(instructions) else { continue }
            #expect(LibpcapFilter.accepts(instructions), "\(instructions)")
            let frame = random.bytes(Int.random(in: 1...80, using: &random))
            let result = program.run(frame.rawSpan), expected = LibpcapFilter.run(instructions, frame)
            #expect(result == expected, "\(instructions) on \(frame)")
            runs += 1
            if result != 0 { selections += 1 }
        }
        #expect(runs > 200 && selections > 20, "\(runs) runs, \(selections) selections")
    }

    @Test(arguments: Rounds.seeds(20))
    func randomProgramsEnd(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<2000 {
            let bytes = random.bytes(8 * Int.random(in: 1...8, using: &random))
            let frame = random.bytes(Int.random(in: 0...40, using: &random))
            _ = (try? FilterProgram(parsing: bytes))?.run(frame.rawSpan)
        }
    }

    /// Expressions that libpcap compiles, on frames that it would select or not.
    @Test(
        .enabled(if: LibpcapFilter.isInstalled, "libpcap is not installed"),
        arguments: [
            "tcp", "udp port 81", "host 192.168.105.2 and not arp", "tcp[tcpflags] & tcp-syn != 0", "ether broadcast",
            "vlan 5 and ip", "less 60", "greater 60", "ip6", "ether src 52:54:00:00:00:01 or (udp and portrange 1-99)",
            "net 192.168.105.0/24 and ip[8] > 3", "icmp6 or icmp",
        ])
    func compiledExpressionsRun(expression: String) throws {
        let compiled = try FilterCompiler.compile(expression, snapLength: 262_144, limit: 4096, timeout: .seconds(60))
        let instructions = compiled.map { Instruction($0.code, $0.jumpTrue, $0.jumpFalse, $0.constant) }
        let program = try FilterProgram(instructions)
        let one = Endpoint.guest(1, port: 80), two = Endpoint.guest(2, port: 81)
        let frames = [
            Frames.tcp(.syn, from: one, to: two), Frames.udp(from: one, to: two),
            Frames.udp(from: two, to: one, [1, 2, 3]),
            Frames.arpRequest(from: one, for: IPv4Address(0xc0a8_6901)), [UInt8](repeating: 0xff, count: 14),
            [UInt8](repeating: 0, count: 1514),
        ]
        for frame in frames {
            #expect(program.run(frame.rawSpan) == LibpcapFilter.run(instructions, frame), "\(expression)")
        }
    }

    @Test(.enabled(if: LibpcapFilter.isInstalled, "libpcap is not installed"))
    func wrongExpressionIsExplained() {
        #expect(throws: FilterCompiler.Failure.self) {
            try FilterCompiler.compile("tcp and", snapLength: 1, limit: 9, timeout: .seconds(60))
        }
        do throws(FilterCompiler.Failure) {
            _ = try FilterCompiler.compile("nonsense 5", snapLength: 262_144, limit: 4096, timeout: .seconds(60))
        } catch {
            guard case .wrong(let reason) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(!reason.isEmpty)
        }
        #expect(throws: FilterCompiler.Failure.tooLong) {
            try FilterCompiler.compile("tcp port 80", snapLength: 262_144, limit: 3, timeout: .seconds(60))
        }
    }
}
