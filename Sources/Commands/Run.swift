// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import NetworkConfiguration
import Logging
import Platform
import Sessions

/// `vde_vmnet run [OPTIONS] -- CMD`: a network for one program, such as a VMM, that ends with it.
package struct Run: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Start a network and a program that is connected to it by its descriptor 3.",
        usage: "vde_vmnet run [OPTIONS] -- COMMAND ...",
        discussion: """
            sudo vde_vmnet run -- qemu-system-x86_64 -device virtio-net-pci,netdev=net0 \
            -netdev dgram,id=net0,local.type=fd,local.str=3 ...

            Started through sudo, the program runs as the user that called sudo. Signals are forwarded to the program. \
            The exit status is the program's, or 128 plus the signal's number if a signal killed it. If the network \
            fails first, the program receives SIGTERM, and SIGKILL 5 seconds later or at the next signal; the exit \
            status is then 69 if the uplink failed, else the program's. With --stream, --dgram, --seqpacket or \
            --switch, further guests can connect to the network.
            """)

    @OptionGroup
    var network: Join

    @Argument(parsing: .postTerminator, help: ArgumentHelp("The program and its arguments.", valueName: "command"))
    var command: [String] = []

    package init() {}

    package mutating func validate() throws {
        if command.isEmpty {
            throw ValidationError(
                "run: give the program to start after --, such as: vde_vmnet run -- qemu-system-x86_64 ...")
        }
        _ = try makeConfiguration()
    }

    func makeConfiguration() throws -> Configuration {
        var configuration = try network.makeConfiguration()
        configuration.listeners.program = command
        if let caller = CurrentProcess.sudoCaller, caller.user != 0 {
            configuration.listeners.programUser = GuestProgram.User(
                name: UserDatabase.account(caller.user)?.name ?? String(caller.user), user: caller.user,
                group: caller.group
            )
        }
        return configuration
    }

    package mutating func run() throws { try run(makeConfiguration()) }

    /// - Parameter configuration: that of the options.
    func run(_ configuration: Configuration) throws {
        let logger = network.makeLogger()
        let daemon = try Daemon(configuration, vmnet: Root.vmnet, logger: logger)
        // Standard output is the program's.
        try daemon.run { logger.info("ready: \($0.summary)") }
        switch daemon.programTermination {
        case .exited(let status)?: ProcessExit.exit(status)
        case .signalled(let number)?: ProcessExit.exit(128 + number)
        case nil: break
        }
    }
}
