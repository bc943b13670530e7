// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import Listeners
import Platform
import Sessions
import VhostUser

/// The options of `join` for sockets other than VDE's that guests connect to.
struct ListenerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Create a stream socket for QEMU and for clients of socket_vmnet. With PATH,offload its guests leave \
            checksums and segmentation to vde_vmnet, as libkrun's may. May be repeated.
            QEMU: -netdev stream,id=n,server=off,addr.type=unix,addr.path=PATH
            """,
            valueName: "path[,offload]"),
        completion: .file())
    var stream: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            Create a datagram socket for QEMU, vfkit and krunkit; with PATH,offload for krunkit's offloading=on. May \
            be repeated.
            QEMU: -netdev dgram,id=n,local.type=unix,local.path=OWN,remote.type=unix,remote.path=PATH
            """,
            valueName: "path[,offload]"),
        completion: .file())
    var dgram: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            Create a socket of sequenced packets for user-mode Linux and bhyve's helpers (Linux). With PATH,offload \
            as --stream. May be repeated.
            User-mode Linux: vec0:transport=bess,dst=PATH
            """,
            valueName: "path[,offload]"),
        completion: .file())
    var seqpacket: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            Create a socket for vhost-user front ends, which share their guest's memory (Linux). With PATH,client \
            connect to a front end that listens there. May be repeated.
            QEMU: -object memory-backend-memfd,id=m,size=SIZE,share=on -M memory-backend=m \
            -chardev socket,id=c,path=PATH -netdev vhost-user,id=n,chardev=c
            """,
            valueName: "path[,client]"),
        completion: .file())
    var vhostUser: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            Serve the guest behind an inherited, connected Unix socket (datagram, stream or sequenced packets), and \
            write one line of JSON to standard output when ready. May be repeated.
            """,
            valueName: "number"), transform: Int32.parse)
    var fd: [Int32] = []

    @Option(
        help: ArgumentHelp(
            """
            Serve the vhost-user front end behind an inherited, connected stream socket, and write one line of JSON to \
            standard output when ready (Linux). May be repeated.
            """,
            valueName: "number"), transform: Int32.parse)
    var vhostUserFd: [Int32] = []

    @Option(
        help: ArgumentHelp(
            """
            Create an interface in a network namespace, which is a guest then (Linux): of a process, by its number; of \
            `ip netns`, by a name; or by a path. It is called eth0, or NAME. With the word configure it gets an \
            address, without a DHCP client. May be repeated.
            """,
            valueName: "namespace[,name][,configure]"),
        completion: Completions.namespaces)
    var netns: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            Exit when no guest has been connected for this long. For socket activation by systemd or launchd.
            """,
            valueName: "seconds"), transform: Int.parse)
    var idleExit: Int?

    @Option(
        help: ArgumentHelp(
            "Group that may connect to the sockets of --stream, --dgram, --seqpacket and --vhost-user.",
            valueName: "group"),
        completion: Completions.groups)
    var socketGroup: String?

    /// Whether there is a listener besides VDE.
    var isGiven: Bool {
        !listeners.isEmpty
    }

    /// The listeners besides VDE.
    var listeners: Set<ListenerName> {
        let given: [(ListenerName, Bool)] = [
            (.stream, !stream.isEmpty), (.dgram, !dgram.isEmpty), (.seqpacket, !seqpacket.isEmpty),
            (.vhostUser, frontEnds.contains { !$0.isServer }),
            (.vhostUserServer, frontEnds.contains(where: \.isServer)),
            (.descriptor, !fd.isEmpty), (.vhostUserDescriptor, !vhostUserFd.isEmpty), (.program, hasProgram),
            (.activated, !activated.isEmpty), (.namespace, !netns.isEmpty),
        ]
        return Set(given.filter(\.1).map(\.0))
    }

    /// The options for sockets that frames without a virtio header pass, with their paths.
    private func sockets() throws -> [SocketArgument] {
        func arguments(_ option: String, _ values: [String]) throws -> [SocketArgument] {
            try values.map {
                let argument = try ListenerArgument($0, option: option, known: ["offload"])
                return SocketArgument(
                    option: option, path: argument.path, isOffloaded: argument.words.contains("offload"))
            }
        }
        return try arguments("--stream", stream) + arguments("--dgram", dgram) + arguments("--seqpacket", seqpacket)
    }

    /// A listener's socket, as an option names it.
    private struct SocketArgument {
        let option: String
        let path: String
        let isOffloaded: Bool
    }

    /// The sockets of front ends. `makeListeners` reports one that cannot be used.
    private var frontEnds: [(path: String, isServer: Bool)] {
        vhostUser.compactMap { try? ListenerOptions.frontEnd($0) }
    }

    private static func frontEnd(_ text: String) throws -> (path: String, isServer: Bool) {
        let argument = try ListenerArgument(text, option: "--vhost-user", known: ["client"])
        return (argument.path, argument.words.contains("client"))
    }

    /// One line of JSON is written when the network is ready.
    var announcesByJSON: Bool { !fd.isEmpty || !vhostUserFd.isEmpty }

    func note(in given: inout GivenOptions) {
        given.note(.idleExit, idleExit != nil)
        given.note(.socketGroup, socketGroup != nil)
        given.note(.namespaceAddress, netns.contains { $0.hasSuffix("," + ListenerOptions.configureWord) })
    }

    /// The usable sockets from the service manager. `makeListeners` reports one that cannot be used.
    private var activated: [ActivatedSocket] { (try? ActivatedSocket.all()) ?? [] }

    /// Hidden flag that `run` adds, because options are validated before `run` itself.
    @Flag(name: .customLong("with-program"), help: .private)
    var hasProgram = false

    private static func inherited(_ number: Int32, _ option: String) throws -> InheritedDescriptor {
        do throws(ListenerError) {
            return try InheritedDescriptor(number)
        } catch {
            throw ValidationError("\(option) \(number): \(error)")
        }
    }

    private static let configureWord = "configure"

    private func namespaces() throws -> [GuestNamespace] {
        guard netns.isEmpty || ForeignNamespace.isSupported else {
            throw ValidationError("--netns needs Linux; this system has no network namespaces")
        }
        var seen: Set<String> = []
        return try netns.map { text in
            // Neither a name of an interface nor the words have a comma, which the namespace's path may have.
            var parts = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            let isConfigured = parts.count > 1 && parts.last == ListenerOptions.configureWord
            if isConfigured { parts.removeLast() }
            let interface = parts.count > 1 ? parts.removeLast() : GuestNamespace.customaryInterface
            let target = parts.joined(separator: ",")
            if target.isEmpty { throw ValidationError("--netns needs a namespace before the comma") }
            guard NetworkInterfaces.isName(interface) else {
                throw ValidationError(
                    """
                    --netns \(PrintableText.line(text)): '\(PrintableText.line(interface))' is no name of an \
                    interface; it has 1 to \(NetworkInterfaces.maximumNameLength) characters
                    """)
            }
            guard seen.insert(text).inserted else {
                throw ValidationError("--netns: \(PrintableText.line(text)) is given twice; leave one out")
            }
            return GuestNamespace(target, interface: interface, isConfigured: isConfigured)
        }
    }

    /// - Parameters:
    ///   - mode: of VDE's sockets, if it was given.
    ///   - group: of VDE's sockets.
    func makeListeners(mode: UInt16?, group: UInt32?) throws -> ListenerConfiguration {
        var configuration = ListenerConfiguration()
        var seen: Set<String> = []
        let frontEnds = try vhostUser.map(ListenerOptions.frontEnd)
        let sockets = try sockets()
        let given = sockets.map { ($0.option, $0.path) } + frontEnds.map { ("--vhost-user", $0.path) }
        for (option, path) in given {
            guard seen.insert(Files.resolved(path)).inserted else {
                throw ValidationError("\(option): \(path) is given twice; leave one out")
            }
        }
        guard (vhostUser.isEmpty && vhostUserFd.isEmpty) || VhostConnection.isSupported else {
            throw ValidationError("--vhost-user needs Linux; use --stream or --dgram here")
        }
        guard seqpacket.isEmpty || Socket.hasSequencedPackets else {
            throw ValidationError("--seqpacket needs Linux; use --stream or --dgram here")
        }
        configuration.vhostUsers = frontEnds.filter { !$0.isServer }.map { Files.absolute($0.path) }
        configuration.vhostUserServers = frontEnds.filter(\.isServer).map { Files.absolute($0.path) }
        func paths(_ option: String) -> [String] {
            sockets.filter { $0.option == option }.map { Files.absolute($0.path) }
        }
        configuration.streams = paths("--stream")
        configuration.datagrams = paths("--dgram")
        configuration.sequencedPackets = paths("--seqpacket")
        configuration.offloadedPaths = Set(sockets.filter(\.isOffloaded).map { Files.absolute($0.path) })
        configuration.descriptors = try fd.map { try ListenerOptions.inherited($0, "--fd") }
        configuration.vhostUserDescriptors = try vhostUserFd.map {
            let descriptor = try ListenerOptions.inherited($0, "--vhost-user-fd")
            guard descriptor.isStream else {
                throw ValidationError(
                    "--vhost-user-fd \($0): it is a \(descriptor.kind.name) socket; vhost-user needs a stream socket")
            }
            return descriptor
        }
        configuration.namespaces = try namespaces()
        let numbers = fd + vhostUserFd
        if Set(numbers).count < numbers.count {
            throw ValidationError("--fd: a descriptor is given twice; leave one out")
        }
        do throws(ListenerError) {
            // With `Accept=yes` --fd may name the same descriptor; only one of the two takes it over.
            configuration.activated = try ActivatedSocket.all().filter { !numbers.contains($0.raw) }
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
            owner = UserDatabase.group(named: socketGroup)
            if owner == nil {
                throw ValidationError(
                    "--socket-group: there is no group '\(socketGroup)'; getent group lists those there are")
            }
        }
        let caller = CurrentProcess.sudoCaller
        configuration.access = ListenerAccess(
            mode: mode ?? (socketGroup == nil ? 0o600 : 0o660), user: caller?.user, group: owner ?? caller?.group)
        return configuration
    }
}
