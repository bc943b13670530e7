// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import VDESwitch

/// The console on standard input, as in vde_switch: replies go to standard output, and the end of the input ends the
/// switch.
final class StandardInputConsole {
    private let console: ManagementConsole
    private let loop: ControlLoop
    private let input: Descriptor
    private let isTerminal: Bool
    private var dialogue = ConsoleSession()
    var onEnd: () -> Void = {}

    init(_ console: ManagementConsole, loop: ControlLoop) throws(SystemError) {
        input = try Descriptor.standardInput()
        self.console = console
        self.loop = loop
        isTerminal = input.isTerminal
    }

    func start() {
        if isTerminal { StandardOutput.writeIfPossible(console.greeting) }
        do throws(SystemError) {
            try loop.watch(input.raw) { [unowned self] _ in receive() }
        } catch {
            // A regular file is always readable, and cannot be watched.
            loop.scheduleSoon { [unowned self] in while receive() {} }
        }
    }

    /// Reads and executes commands. Returns false at the end of the input.
    @discardableResult
    private func receive() -> Bool {
        let bytes = (try? input.read(limit: 4096)) ?? []
        dialogue.take(bytes)
        var hasEnded = false
        // The last line may lack its end.
        if bytes.isEmpty, dialogue.isInLine { dialogue.endLine() }
        while !hasEnded, let (text, end) = dialogue.next(console, user: nil, showsPrompt: isTerminal) {
            StandardOutput.writeIfPossible(text)
            hasEnded = end != nil
        }
        hasEnded = hasEnded || bytes.isEmpty
        guard hasEnded else { return true }
        loop.unwatch(input.raw)
        onEnd()
        return false
    }
}
