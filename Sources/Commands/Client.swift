// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import Lifecycle
import Platform

/// `vde_vmnet client SOCKET CMD...`: starts a program with a connection to a stream listener as its descriptor 3.
package struct Client: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "client",
        abstract: "Start a program with a connection to a socket of --stream as its descriptor 3.",
        discussion: """
            vde_vmnet client /tmp/vm.sock qemu-system-x86_64 -device virtio-net-pci,netdev=net0 \
            -netdev socket,id=net0,fd=3 ...

            vde_vmnet replaces itself by the program. The exit status is 69 if no vde_vmnet serves the socket, and 126 \
            or 127 if the program cannot be started.
            """)

    @Argument(help: "The socket that vde_vmnet --stream created.", completion: .file())
    var socket: String

    @Argument(
        parsing: .captureForPassthrough, help: ArgumentHelp("The program and its arguments.", valueName: "command"))
    var command: [String] = []

    package init() {}

    package mutating func validate() throws {
        if command.first == "--" { command.removeFirst() }
        if socket.isEmpty { throw ValidationError("client: the path of the socket is empty") }
        if command.isEmpty {
            throw ValidationError(
                "client: give the program to start, such as: vde_vmnet client \(socket) qemu-system-x86_64 ...")
        }
    }

    package mutating func run() throws {
        let connection: Descriptor
        do throws(SystemError) {
            connection = try Client.connect(to: socket)
        } catch {
            throw ExitError(
                error.code == Errno.accessDenied ? .noPermission : .unavailable,
                "\(error); is vde_vmnet --stream \(socket) running, and is the socket yours to use?")
        }
        do throws(SystemError) {
            try GuestProgram.exec(command, descriptor: connection.raw)
        } catch {
            StandardOutput.writeError("vde_vmnet: error: \(error)\n")
            ProcessExit.exit(error.code == Errno.noEntry ? 127 : 126)
        }
    }

    /// A blocking connection to the stream listener at `path`. The caller owns it.
    static func connect(to path: String) throws(SystemError) -> Descriptor {
        let connection = try Socket.unixStream()
        connection.setBlocking()
        try connection.connect(to: UnixPath(path))
        return connection
    }
}
