// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlSocket
import Lifecycle
import Platform
import Timing

/// `vde_vmnet stop NAME`: ends a network, which must be named even if it is the only one.
package struct Stop: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "stop",
        abstract: "End a network, and wait until it has undone its changes of the host.")

    @Argument(help: "The network: its name, or the path of its control socket.", completion: Completions.networks)
    var name: String?

    @Option(help: ArgumentHelp("The same as NAME.", valueName: "name"), completion: Completions.networks)
    var network: String?

    /// How long a network may take for its end.
    private static let timeout = TimeAmount.seconds(30)

    package init() {}

    package func validate() throws {
        if name == nil && network == nil {
            throw ValidationError("give the NAME of the network to end; vde_vmnet list shows those that run")
        }
        try NamedNetworkOptions.checkOne(name, network)
    }

    package mutating func run() throws {
        let connection = try NetworkLookup.connect(name ?? network)
        let process = connection.server?.process ?? 0
        _ = try connection.call("stop")
        // The connection ends with the process, when everything is undone.
        guard connection.waitForEnd(until: BootClock.now + Stop.timeout) else {
            throw ExitError(
                .unavailable, "process \(process) still runs \(Stop.timeout) later; its log shows what it waits for")
        }
    }
}
