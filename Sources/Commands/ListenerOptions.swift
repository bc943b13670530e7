// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Listeners
import Platform
import Sessions

/// The options of `join` that let machines in by other ways than VDE.
struct ListenerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A socket for QEMU's -netdev stream,id=n,server=off,addr.type=unix,addr.path=PATH and for clients of socket_vmnet. May be given several times.",
            valueName: "path"))
    var stream: [String] = []

    @Option(
        help: ArgumentHelp(
            "A socket for vfkit, krunkit, and QEMU's -netdev dgram,id=n,local.type=unix,local.path=OWN,remote.type=unix,remote.path=PATH. May be given several times.",
            valueName: "path"))
    var dgram: [String] = []

    @Option(
        help: ArgumentHelp(
            "A connected unix socket that this is started with, datagram or stream, with a machine behind it; the machine's end is ours. Standard output then carries one line of JSON. May be given several times.",
            valueName: "number"))
    var fd: [Int32] = []

    @Option(
        help: ArgumentHelp(
            "End when no machine has been here for so long. For sockets of systemd or launchd, which start this again.",
            valueName: "seconds"))
    var idleExit: Int?

    @Option(help: ArgumentHelp("The group that may use these sockets.", valueName: "group"))
    var socketGroup: String?

    /// Whether there is a way in besides VDE.
    var isGiven: Bool { !stream.isEmpty || !dgram.isEmpty || !fd.isEmpty || hasProgram || !activated.isEmpty }

    /// The ways in besides VDE.
    var listeners: Set<ListenerName> {
        let given: [(ListenerName, Bool)] = [
            (.stream, !stream.isEmpty), (.dgram, !dgram.isEmpty), (.descriptor, !fd.isEmpty), (.program, hasProgram),
            (.activated, !activated.isEmpty),
        ]
        return Set(given.filter(\.1).map(\.0))
    }

    func note(in given: inout GivenOptions) {
        given.note(.idleExit, idleExit != nil)
        given.note(.socketGroup, socketGroup != nil)
    }

    /// The service manager's sockets, as far as they are any use: what is not is said by `makeListeners`.
    private var activated: [ActivatedSocket] { (try? ActivatedSocket.all()) ?? [] }

    /// `run` starts a machine: it says so by this word, for options are checked before it has a say.
    @Flag(name: .customLong("with-program"), help: .private)
    var hasProgram = false

    /// - Parameters:
    ///   - mode: of VDE's sockets, where it was given.
    ///   - group: of VDE's sockets.
    func makeListeners(mode: UInt16?, group: UInt32?) throws -> ListenerConfiguration {
        var configuration = ListenerConfiguration()
        var seen: Set<String> = []
        for (option, path) in stream.map({ ("--stream", $0) }) + dgram.map({ ("--dgram", $0) }) {
            if path.isEmpty { throw ValidationError("\(option) needs a path") }
            guard seen.insert(Files.resolved(path)).inserted else {
                throw ValidationError("\(option): \(path) is given twice")
            }
        }
        configuration.datagrams = dgram.map { Files.absolute($0) }
        configuration.streams = stream.map { Files.absolute($0) }
        for number in fd {
            do throws(ListenerError) {
                configuration.descriptors.append(try InheritedDescriptor(number))
            } catch {
                throw ValidationError("--fd \(number): \(error)")
            }
        }
        if Set(fd).count < fd.count { throw ValidationError("--fd: a descriptor is given twice") }
        do throws(ListenerError) {
            // With `Accept=yes` one may be named by --fd as well; nobody is to have it twice.
            configuration.activated = try ActivatedSocket.all().filter { !fd.contains($0.raw) }
        } catch {
            throw ValidationError(error.description)
        }
        if let idleExit {
            guard (1...1_000_000).contains(idleExit) else {
                throw ValidationError("--idle-exit: \(idleExit) is not between 1 and 1000000 seconds")
            }
            configuration.idleExit = idleExit
        }
        var owner = group
        if let socketGroup {
            owner = Accounts.group(named: socketGroup)
            if owner == nil { throw ValidationError("--socket-group: there is no group '\(socketGroup)'") }
        }
        let caller = Accounts.sudoCaller
        configuration.access = ListenerAccess(
            mode: mode ?? (socketGroup == nil ? 0o600 : 0o660), user: caller?.user, group: owner ?? caller?.group)
        return configuration
    }
}
