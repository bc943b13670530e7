// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import Platform
import Sessions
import Switching
import VDEPlug
import VDESwitch

/// The options of `join` that creates its own switch.
struct SwitchOptions: ParsableArguments {
    @Flag(
        name: .customLong("switch"),
        help: "Create a VDE switch at VDE instead of joining one.")
    var isSwitch = false

    @Option(
        help: ArgumentHelp(
            "Octal mode of the switch's control socket: the users that may join. (default: 0600)", valueName: "mode"),
        transform: OctalMode.parse)
    var vdeMode: OctalMode?

    @Option(
        help: ArgumentHelp(
            "Octal mode of the switch's directory. (default: derived from --vde-mode)", valueName: "mode"),
        transform: OctalMode.parse)
    var vdeDirmode: OctalMode?

    @Option(
        help: ArgumentHelp(
            "Create a socket for the switch's console, for unixterm, vdeterm and unixcmd.", valueName: "path"),
        completion: .file())
    var mgmt: String?

    @Option(
        help: ArgumentHelp("Octal mode of the console's socket. Needs --mgmt. (default: 0600)", valueName: "mode"),
        transform: OctalMode.parse)
    var mgmtmode: OctalMode?

    @Option(
        help: ArgumentHelp("Run the console commands in this file at start.", valueName: "file"),
        completion: .file())
    var rcfile: String?

    @Flag(help: "Keep guests from reaching each other; they reach only the uplink.")
    var vmnetIsolation = false

    @Option(
        help: ArgumentHelp(
            """
            Limit the rate of each guest's port, each way, such as 50mbit or 1gbit, 1mbit at least. Frames beyond it \
            are dropped. (default: no limit)
            """,
            valueName: "rate"), transform: RateLimit.parse)
    var limit: RateLimit?

    @Option(
        help: ArgumentHelp(
            """
            Port of the switch behind which there are several guests, such as another switch. Together they may take \
            up to four fifths of the DHCP addresses. May be repeated.
            """,
            valueName: "port"), transform: Int.parse)
    var trunk: [Int] = []

    func note(in given: inout GivenOptions) {
        given.note(.vdeMode, vdeMode != nil)
        given.note(.vdeDirmode, vdeDirmode != nil)
        given.note(.mgmt, mgmt != nil)
        given.note(.mgmtmode, mgmtmode != nil)
        given.note(.rcfile, rcfile != nil)
        given.note(.isolation, vmnetIsolation)
        given.note(.trunk, !trunk.isEmpty)
        given.note(.limit, limit != nil)
    }

    /// The switch that the options describe; nil if vde_vmnet joins one.
    /// - Parameter hasOtherListeners: there is no VDE argument, and there are other listeners.
    func makeSwitch(
        _ locator: VirtualNetworkLocator, group: UInt32?, hasOtherListeners: Bool = false
    ) throws -> SwitchConfiguration? {
        if hasOtherListeners && !isSwitch {
            return try configure(SwitchConfiguration(path: nil), group: group)
        }
        guard isSwitch else { return nil }
        let path: String
        switch locator {
        case .switchDirectory(let directory, 0): path = directory
        case .defaultSwitch(_, 0): path = SwitchConfiguration.defaultPath
        default:
            throw ValidationError(
                "--switch takes the directory to create, without a port and not a cable")
        }
        return try configure(SwitchConfiguration(path: Files.absolute(path)), group: group)
    }

    private func configure(_ base: SwitchConfiguration, group: UInt32?) throws -> SwitchConfiguration {
        if mgmt?.isEmpty == true { throw ValidationError("--mgmt needs a path") }
        if rcfile?.isEmpty == true { throw ValidationError("--rcfile needs a path") }
        if let port = trunk.first(where: { !(0...base.portLimit).contains($0) }) {
            throw ValidationError("--trunk: \(port) is not a port of the switch, which has 0 to \(base.portLimit)")
        }
        var configuration = base
        configuration.trunks = Set(trunk)
        configuration.limit = limit
        configuration.access = SwitchAccess(
            mode: vdeMode?.value, directoryMode: vdeDirmode?.value, group: group, owner: CurrentProcess.sudoCaller)
        configuration.console = mgmt.map {
            SwitchConfiguration.Console(path: Files.absolute($0), mode: mgmtmode?.value ?? 0o600)
        }
        configuration.commandFile = rcfile.map { Files.absolute($0) }
        return configuration
    }
}

extension RateLimit: ExpressibleByArgument {
    package init?(argument: String) { self.init(argument) }

    /// What a rate may be, for messages.
    static let bounds = "\(RateLimit(bitsPerSecond: slowest)!) to \(RateLimit(bitsPerSecond: fastest)!)"
}

/// Permission bits in octal, as for chmod(1).
struct OctalMode: ExpressibleByArgument {
    let value: UInt16

    init?(argument: String) {
        guard !argument.isEmpty, argument.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) }),
            let value = UInt16(argument, radix: 8), value <= 0o7777
        else {
            return nil
        }
        self.value = value
    }
}
