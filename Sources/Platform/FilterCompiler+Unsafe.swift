// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Timing

/// Compiles filter expressions (pcap-filter(7)) by libpcap, if that is installed. For commands, not for the daemon.
package enum FilterCompiler {
    /// Why an expression is not compiled.
    package enum Failure: Error, Equatable, Sendable {
        /// libpcap is not installed.
        case noLibrary
        /// The program would be longer than the limit.
        case tooLong
        /// libpcap has not finished in time: its optimizer needs minutes for some hundred alternatives.
        case tooSlow
        /// The expression is wrong, in libpcap's words.
        case wrong(String)
        /// There is no memory for it.
        case system
    }

    /// An instruction of the classic BSD packet filter (bpf(4)).
    package typealias Instruction = (code: UInt16, jumpTrue: UInt8, jumpFalse: UInt8, constant: UInt32)

    /// The program that an expression stands for.
    /// - Parameters:
    ///   - snapLength: bytes of a frame that the program selects.
    ///   - limit: instructions at most.
    ///   - timeout: for libpcap. Its thread goes on after that: the process should end.
    package static func compile(
        _ expression: String, snapLength: Int, limit: Int, timeout: TimeAmount
    ) throws(Failure) -> [Instruction] {
        let deadline = BootClock.now + timeout
        let outcome: Result<[Instruction], Failure>?
        do throws(SystemError) {
            let promise = try Promise<Result<[Instruction], Failure>>()
            try WorkerThread.start(named: "filter") {
                promise.fulfill(
                    Result { () throws(Failure) in
                        try compile(expression, snapLength: snapLength, limit: limit)
                    })
            }
            outcome = promise.wait(until: deadline)
        } catch {
            throw .system
        }
        guard let outcome else { throw .tooSlow }
        return try outcome.get()
    }

    private static func compile(_ expression: String, snapLength: Int, limit: Int) throws(Failure) -> [Instruction] {
        var instructions = [platform_filter_instruction](repeating: platform_filter_instruction(), count: limit)
        var reason = [CChar](repeating: 0, count: 512)
        let count = unsafe platform_pcap_compile(
            expression, Int32(clamping: snapLength), &instructions, Int32(limit), &reason, reason.count)
        switch -count {
        case Errno.noEntry: throw .noLibrary
        case Errno.messageTooLong: throw .tooLong
        case Errno.invalid:
            throw .wrong(
                String(decoding: reason.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
        case 1...: throw .system
        default: return instructions.prefix(Int(count)).map { ($0.code, $0.jump_true, $0.jump_false, $0.constant) }
        }
    }
}
