// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// A network of this program's switch with a control socket in the test's folder, and clients of it: this program's
/// commands, and plain Python.
final class ControlFixture {
    enum Uplink: String, CaseIterable, CustomTestStringConvertible {
        case tap, user

        var testDescription: String { rawValue }
    }

    let network: TestNetwork
    let path: String
    let socket: String
    let daemon: VMNetDaemon

    /// Stands in options for the path of a file in the network's folder.
    static func file(_ name: String) -> String { "FOLDER/" + name }

    /// - Parameter isOldKernel: the kernel seems to have no `force_forwarding`.
    init(
        _ uplink: String = "user", _ options: [String] = [], internet: Bool = false,
        environment: [String: String?] = [:], product: String = "vde_vmnet", isOldKernel: Bool = false,
        prepare: (TestNetwork) throws -> Void = { _ in }
    ) throws {
        network = try TestNetwork()
        let folder = network.folder
        let options = options.map { $0.hasPrefix("FOLDER/") ? folder.file(String($0.dropFirst(7))) : $0 }
        try prepare(network)
        if internet { try network.startInternet() }
        path = network.folder.file("own")
        socket = network.folder.file("control")
        // Other users connect as well.
        try Files.setMode(network.folder.path, 0o755)
        daemon = try VMNetDaemon(
            in: network.host, ["--switch", "--uplink", uplink, "--control", socket] + options + [path],
            folder: network.folder, environment: environment, product: product,
            wrapper: isOldKernel ? try OldKernel.hidingForwarding(network.folder) : [])
    }

    var host: Namespace { network.host }
    var folder: TemporaryFolder { network.folder }

    func guest(_ name: String = "guest", mac: String? = nil) throws -> PlugGuest {
        try PlugGuest(name, path: path, mac: mac, folder: folder)
    }

    /// Runs a command of this program about the network.
    func attempt(_ words: String..., user: String? = nil) throws -> ChildProcess.Output {
        try attempt(words, user: user)
    }

    func attempt(_ words: [String], user: String? = nil) throws -> ChildProcess.Output {
        try host.attempt(
            Namespace.running(as: user) + [TestHost.product("vde_vmnet")] + words + ["--network", socket])
    }

    /// The same with success expected. Returns the output.
    @discardableResult
    func run(_ words: String...) throws -> String {
        let result = try attempt(words)
        guard result.succeeded else { throw CommandFailed(description: "\(words): \(result.error)") }
        return result.output
    }

    func status(_ options: String..., user: String? = nil) throws -> ChildProcess.Output {
        try host.attempt(
            Namespace.running(as: user) + [TestHost.product("vde_vmnet"), "status", socket] + options)
    }

    /// Runs a program of Python in which `connect()` returns a connection, `call(method, **params)` a reply, and `path`
    /// is the socket.
    func python(_ body: String, user: String? = nil) throws -> ChildProcess.Output {
        let prelude = """
            import json, socket, sys, time
            path = sys.argv[1]
            def connect():
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(20)
                s.connect(path)
                return s
            def call(method, **params):
                s = connect()
                s.sendall(json.dumps({"id": 7, "method": method, "params": params}).encode() + b"\\n")
                reply = json.loads(s.makefile("rb").readline())
                assert reply["id"] == 7, reply
                return reply

            """
        return try host.attempt(Namespace.running(as: user) + ["/usr/bin/python3", "-c", prelude + body, socket])
    }
}
