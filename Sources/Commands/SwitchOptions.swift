// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Platform
import Sessions
import VDEPlug
import VDESwitch

/// The options of `join` that make it a switch.
struct SwitchOptions: ParsableArguments {
    @Flag(
        name: .customLong("switch"),
        help: "Be the switch at VDE, a directory that is made: machines join it with nothing else installed.")
    var isSwitch = false

    @Option(
        help: ArgumentHelp(
            "With --switch: who may join, as the octal mode of the control socket. (default: 0600)", valueName: "mode"))
    var vdeMode: OctalMode?

    @Option(
        help: ArgumentHelp(
            "With --switch: the octal mode of the directory. (default: made from --vde-mode)", valueName: "mode"))
    var vdeDirmode: OctalMode?

    @Option(
        help: ArgumentHelp(
            "With --switch: a socket for the console, as unixterm, vdeterm and unixcmd use it.", valueName: "path"))
    var mgmt: String?

    @Option(help: ArgumentHelp("With --mgmt: its octal mode. (default: 0600)", valueName: "mode"))
    var mgmtmode: OctalMode?

    @Option(help: ArgumentHelp("With --switch: console commands to carry out at start.", valueName: "file"))
    var rcfile: String?

    @Flag(help: "With --switch: machines reach the way out, and not each other.")
    var vmnetIsolation = false

    @Option(
        help: ArgumentHelp(
            "With --switch: a port that leads to further guests, such as another switch. It gets up to four fifths of the addresses, by rate. Repeat for several.",
            valueName: "port"))
    var trunk: [Int] = []

    func note(in given: inout GivenOptions) {
        given.note(.vdeMode, vdeMode != nil)
        given.note(.vdeDirmode, vdeDirmode != nil)
        given.note(.mgmt, mgmt != nil)
        given.note(.mgmtmode, mgmtmode != nil)
        given.note(.rcfile, rcfile != nil)
        given.note(.isolation, vmnetIsolation)
        given.note(.trunk, !trunk.isEmpty)
    }

    /// The switch that they ask for; nil for none.
    /// - Parameter hasOtherListeners: VDE is not spoken of, and there are other ways in.
    func makeSwitch(
        _ locator: PlugLocator, group: UInt32?, hasOtherListeners: Bool = false
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
                "--switch takes the directory that the switch is to have, without a port and not a cable")
        }
        return try configure(SwitchConfiguration(path: Files.absolute(path)), group: group)
    }

    private func configure(_ base: SwitchConfiguration, group: UInt32?) throws -> SwitchConfiguration {
        if mgmt?.isEmpty == true { throw ValidationError("--mgmt needs a path") }
        if let port = trunk.first(where: { !(0...base.portLimit).contains($0) }) {
            throw ValidationError("--trunk: \(port) is no port of the switch, which has 0 to \(base.portLimit)")
        }
        var configuration = base
        configuration.trunks = Set(trunk)
        configuration.access = SwitchAccess(
            mode: vdeMode?.value, directoryMode: vdeDirmode?.value, group: group, owner: Accounts.sudoCaller)
        configuration.console = mgmt.map {
            SwitchConfiguration.Console(path: Files.absolute($0), mode: mgmtmode?.value ?? 0o600)
        }
        configuration.commandFile = rcfile.map { Files.absolute($0) }
        return configuration
    }
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
