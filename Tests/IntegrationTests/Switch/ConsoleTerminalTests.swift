// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Programs of vde2 that talk to a console.
    @Suite struct ConsoleTerminals {
        /// vdeterm sends a command without the end of its line, and needs a terminal, which script(1) gives it.
        @Test func vdetermIsAnswered() throws {
            let network = try TestNetwork(), mgmt = network.folder.file("mgmt")
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", "--uplink", "none", "--mgmt", mgmt, network.folder.file("vde")],
                folder: network.folder)
            let terminal = try network.host.start(["script", "-qec", "vdeterm \(mgmt)", "/dev/null"])
            try terminal.wait(for: "vde[")
            try terminal.type("port/showinfo\r")
            try terminal.wait(for: "Numports=1000", within: 10)
            try terminal.type("logout\r")
            #expect(try terminal.waitForEnd() == .exited(0))
            #expect(try daemon.stop() == .exited(0))
        }

        /// Commands that come without an end and in one piece are one command each, and a line in pieces is one line.
        @Test func pauseEndsLine() throws {
            let network = try TestNetwork(), mgmt = network.folder.file("mgmt")
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", "--uplink", "none", "--mgmt", mgmt, network.folder.file("vde")],
                folder: network.folder)
            let console = try Console(mgmt)
            #expect(try console.ask("vlan/create 5", lineEnd: "").contains("1000 Success"))
            #expect(try console.ask("vlan/create 5").contains("1017"), "it was carried out once")
            #expect(try daemon.stop() == .exited(0))
        }
    }
}
