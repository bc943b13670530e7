// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Logging
import Platform
import Sessions

/// `vde_vmnet run [OPTIONS] -- CMD`: a network and a machine that come and go together.
package struct Run: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Start a network and a machine on it, which has it as descriptor 3.",
        usage: "vde_vmnet run [OPTIONS] -- COMMAND ...",
        discussion: """
            sudo vde_vmnet run -- qemu-system-x86_64 -device virtio-net-pci,netdev=net0 -netdev dgram,id=net0,local.type=fd,local.str=3 ...

            Through sudo, the program runs as whoever called sudo. Signals are passed on to it, and its exit status is ours: 128 and the signal's \
            number if it was killed. If the network ends first, the program is asked to end (SIGTERM), \
            and killed 5 seconds later, or at the second signal that comes meanwhile; the exit status is then 69 if the way out has failed, else the \
            program's. With --stream, --dgram or --switch others come in beside it.
            """)

    @OptionGroup
    var network: Join

    @Argument(parsing: .postTerminator, help: ArgumentHelp("The program and its arguments.", valueName: "command"))
    var command: [String] = []

    package init() {}

    package mutating func validate() throws {
        if command.isEmpty {
            throw ValidationError(
                "run: give the program to start behind --, such as: vde_vmnet run -- qemu-system-x86_64 ...")
        }
        _ = try makeConfiguration()
    }

    func makeConfiguration() throws -> Configuration {
        var configuration = try network.makeConfiguration()
        configuration.listeners.program = command
        if let caller = Accounts.sudoCaller, caller.user != 0 {
            configuration.listeners.programUser = GuestProgram.User(
                name: Accounts.account(caller.user)?.name ?? String(caller.user), user: caller.user, group: caller.group
            )
        }
        return configuration
    }

    package mutating func run() throws {
        let logger = network.makeLogger()
        let daemon = try Daemon(try makeConfiguration(), vmnet: Root.vmnet, logger: logger)
        // Standard output is the program's.
        try daemon.run { logger.info("ready: \($0.summary)") }
        switch daemon.programTermination {
        case .exited(let status)?: ProcessExit.exit(status)
        case .signalled(let number)?: ProcessExit.exit(128 + number)
        case nil: break
        }
    }
}
