// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import TestSupport
import Testing
import VDESwitch
import Wire

@Suite struct ConsoleTests {
    private let control: SwitchControl
    private let virtualSwitch: VirtualSwitch
    private let console: ManagementConsole

    init() throws {
        control = try SwitchControl()
        virtualSwitch = VirtualSwitch(control: control, limit: 32)
        console = ManagementConsole(
            virtualSwitch,
            ConsoleContext(
                version: "1.2.3", directory: "/tmp/vde", mode: 0o600, path: "/tmp/mgmt", pathMode: 0o600,
                disconnect: { _, _ in }))
    }

    private func ask(_ line: String, user: UInt32? = nil) -> String {
        console.execute(line, user: user).map(ManagementConsole.text) ?? ""
    }

    /// What Debian's vde_switch 2.3.2 answers to the same commands, in this order.
    @Test func portCommandsAnswerLikeVDESwitch() {
        let dialogue: [(String, String)] = [
            ("port/print", "0000 DATA END WITH '.'\n.\n1000 Success\n"), ("port/create 5", "1000 Success\n"),
            ("port/create 5", "1017 File exists\n"),
            ("port/create 0", "1000 Success\n"), ("port/create", "1000 Success\n"),
            ("port/createauto", "0000 DATA END WITH '.'\nPort 0003\n.\n1000 Success\n"),
            ("port/create 40", "1022 Invalid argument\n"),
            ("port/print 5", "0000 DATA END WITH '.'\n.\n1006 No such device or address\n"),
            (
                "port/allprint 5",
                """
                0000 DATA END WITH '.'
                Port 0005 untagged_vlan=0000 INACTIVE - NOT Unnamed Allocatable
                 Current User: NONE Access Control: (User: NONE - Group: NONE)
                 IN:  pkts          0          bytes                    0
                 OUT: pkts          0          bytes                    0
                .
                1000 Success

                """
            ),
            ("port/setvlan 5 10", "1006 No such device or address\n"), ("vlan/create 10", "1000 Success\n"),
            ("vlan/create 10", "1017 File exists\n"),
            ("vlan/create 0", "1022 Invalid argument\n"), ("vlan/create 4095", "1022 Invalid argument\n"),
            ("vlan/create 4094", "1022 Invalid argument\n"),
            ("vlan/create 4093", "1000 Success\n"), ("port/setvlan 5 10", "1000 Success\n"),
            ("port/setvlan 5 4095", "1000 Success\n"),
            ("port/setvlan 9 10", "1006 No such device or address\n"), ("vlan/addport 10 5", "1000 Success\n"),
            ("vlan/addport 10 9", "1006 No such device or address\n"),
            ("vlan/addport 11 5", "1006 No such device or address\n"),
            ("vlan/print", "0000 DATA END WITH '.'\nVLAN 0000\nVLAN 0010\nVLAN 4093\n.\n1000 Success\n"),
            ("vlan/print 77", "0000 DATA END WITH '.'\n.\n1006 No such device or address\n"),
            (
                "vlan/allprint 10",
                "0000 DATA END WITH '.'\nVLAN 0010\n -- Port 0005 tagged=1 active=0 status=Learning\n.\n1000 Success\n"
            ),
            ("vlan/delport 10 5", "1000 Success\n"), ("vlan/delport 10 5", "1000 Success\n"),
            ("port/setvlan 5 10", "1000 Success\n"),
            ("vlan/remove 10", "1098 Address already in use\n"), ("port/setvlan 5 0", "1000 Success\n"),
            ("vlan/remove 10", "1000 Success\n"),
            ("vlan/remove 10", "1006 No such device or address\n"), ("vlan/remove 0", "1098 Address already in use\n"),
            ("vlan/remove 4093", "1000 Success\n"),
            ("port/sethub 1", "1000 Success\n"),
            ("port/showinfo", "0000 DATA END WITH '.'\nNumports=32\nHUB=true\ncounters=true\n.\n1000 Success\n"),
            ("port/sethub 0", "1000 Success\n"), ("port/setnumports 3", "1098 Address already in use\n"),
            ("port/setnumports 40", "1000 Success\n"),
            ("port/setnumports 0", "1022 Invalid argument\n"), ("port/remove 5", "1000 Success\n"),
            ("port/remove 5", "1006 No such device or address\n"),
            ("port/remove 99", "1022 Invalid argument\n"), ("port/create 7", "1000 Success\n"),
            ("port/allocatable 7 1", "1000 Success\n"),
            ("port/setuser 7 nobody", "1000 Success\n"), ("port/setuser 7 nosuchuser", "1022 Invalid argument\n"),
            ("port/setuser 7 NONE", "1000 Success\n"),
            ("port/setgroup 7 nogroup", "1000 Success\n"), ("port/setuser 7", "1022 Invalid argument\n"),
            ("port/epclose 7 3", "1006 No such device or address\n"),
            ("port/resetcounter", "1000 Success\n"), ("port/resetcounter 7", "1000 Success\n"),
            ("hash/find xx", "0000 DATA END WITH '.'\n.\n1022 Invalid argument\n"),
            ("hash/setexpire 200", "1000 Success\n"), ("load /nonexistent", "1002 No such file or directory\n"),
            ("load", "1002 No such file or directory\n"),
            ("foo", "1038 Function not implemented\n"), ("port", "1038 Function not implemented\n"),
            ("port/", "1038 Function not implemented\n"),
            ("SHOWINFO", "1038 Function not implemented\n"), ("# a comment", ""), ("   ", ""),
            ("logout", "9999 END OF SESSION"), ("shutdown", "9999 END OF SESSION"),
            ("ds/showinfo", "0000 DATA END WITH '.'\nctl dir /tmp/vde\nstd mode 0600\n.\n1000 Success\n"),
        ]
        for (question, answer) in dialogue { #expect(ask(question) == answer, "\(question)") }
    }

    @Test func invalidCommandsAreRefused() {
        for line in [
            "port/create abc", "port/create -1", "port/create 99999999999999999999", "port/setvlan 1", "vlan/create",
            "port/sethub 7", "hash/setexpire 0", "hash/setexpire -5",
        ] {
            #expect(ask(line).hasPrefix("1022"), "\(line)")
        }
        var random = SeededGenerator(seed: 3)
        let words = [
            "port/create", "port/remove", "port/setvlan", "vlan/create", "vlan/addport", "vlan/remove",
            "port/allocatable", "port/setnumports", "port/print", "vlan/allprint", "help", "port/epclose",
        ]
        for _ in 0..<5000 {
            let count = Int.random(in: 0...3, using: &random)
            let arguments = (0..<count).map { _ in
                ["0", "1", "5", "32", "33", "4093", "4095", "70000", "-1", "x", ""].randomElement(using: &random)!
            }
            _ = ask(([words.randomElement(using: &random)!] + arguments).joined(separator: " "))
        }
        #expect(ask("port/showinfo").contains("1000 Success"))
    }

    @Test func greetingContainsVersion() {
        #expect(console.greeting.hasPrefix("VDE switch V.1.2.3\n"))
        #expect(console.greeting.hasSuffix("\nvde$ "))
    }

    @Test func helpListsEveryCommand() {
        let all = ask("help")
        for command in ["port/print", "hash/setexpire", "vlan/addport", "load", "shutdown"] {
            #expect(all.contains("\n" + command))
        }
        #expect(all.contains("COMMAND PATH       SYNTAX          HELP\n"))
        #expect(!ask("help port").contains("vlan/"))
    }

    // MARK: Dialogue

    /// All that is answered to what has come.
    private func answers(
        _ dialogue: inout ConsoleSession, _ text: String
    ) -> (text: String, end: ManagementConsole.Reply.End?) {
        dialogue.take(Array(text.utf8))
        var all = ""
        while let (text, end) = dialogue.next(console, user: nil) {
            all += text
            if end != nil { return (all, end) }
        }
        return (all, nil)
    }

    @Test func incompleteLineCanBeEnded() {
        var dialogue = ConsoleSession()
        #expect(!dialogue.isInLine)
        dialogue.take(Array("vlan/cre".utf8))
        #expect(dialogue.isInLine && dialogue.next(console, user: nil) == nil)
        dialogue.take(Array("ate 5".utf8))
        dialogue.endLine()
        #expect(!dialogue.isInLine && dialogue.next(console, user: nil)?.text.contains("1000 Success") == true)
        dialogue.take(Array("vlan/create 6\nrest".utf8))
        #expect(!dialogue.isInLine && dialogue.next(console, user: nil) != nil && dialogue.isInLine)
    }

    @Test func linesAreAssembledFromAnyPieces() {
        var dialogue = ConsoleSession()
        #expect(answers(&dialogue, "port/sh").text.isEmpty)
        let both = answers(&dialogue, "owinfo\n\n# c\nfoo\n")
        #expect(
            both.text
                == "0000 DATA END WITH '.'\nNumports=32\nHUB=false\ncounters=true\n.\n1000 Success\n\nvde$ \nvde$ \n"
                + "vde$ 1038 Function not implemented\n\nvde$ "
        )
        #expect(both.end == nil)
        let last = answers(&dialogue, "logout\nport/showinfo\n")
        #expect(last.text == "9999 END OF SESSION" && last.end == .logout)
    }

    @Test func tooLongLineIsDiscarded() {
        var dialogue = ConsoleSession()
        for _ in 0..<16 { #expect(answers(&dialogue, String(repeating: "a", count: 65_536)).text.isEmpty) }
        let after = answers(&dialogue, "\nport/showinfo\n").text
        #expect(after.hasPrefix("1090 Message too long\n\nvde$ 0000 DATA"))
        #expect(
            answers(&dialogue, String(repeating: "a", count: 4097) + "\nfoo\n").text.hasPrefix(
                "1090 Message too long\n\nvde$ 1038"))
    }

    // MARK: Files

    @Test func loadExecutesAndPrintsCommandFile() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("rc")
        try Files.replace(path, Array("port/create 3\n# comment\n\nfoo\nvlan/create 5\n".utf8))
        #expect(
            ask("load \(path)")
                == "vde[\(path)]: port/create 3\n1000 Success\nvde[\(path)]: foo\n1038 Function not implemented\n"
                + "vde[\(path)]: vlan/create 5\n1000 Success\n1000 Success\n"
        )
        let failures = try console.run(file: path)
        #expect(failures.map(\.line) == ["port/create 3", "foo", "vlan/create 5"])
        try Files.replace(path, Array("load \(path)\n".utf8))
        #expect(ask("load \(path)").contains("1022"), "a file that loads itself comes to an end")
        try Files.replace(path, Array(String(repeating: "#\n", count: 5000).utf8))
        #expect(ask("load \(path)").hasPrefix("1022"))
        _ = try ChildProcess.run(["mkfifo", folder.file("fifo")])
        #expect(ask("load \(folder.file("fifo"))").hasPrefix("1022"), "and nobody waits for a FIFO")
    }

    @Test func loadIsRefusedToOtherUsers() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("secret")
        try Files.replace(path, Array("a secret\n".utf8), mode: 0o644)
        // Even what seems open to all may lie behind a closed listener, or be changed for a link meanwhile.
        #expect(ask("load \(path)", user: CurrentProcess.effectiveUser + 1) == "1013 Permission denied\n")
        #expect(ask("load \(path)", user: CurrentProcess.effectiveUser).contains("a secret"))
    }
}

@Suite struct VirtualSwitchTests {
    private let control: SwitchControl
    private let it: VirtualSwitch

    init() throws {
        control = try SwitchControl()
        it = VirtualSwitch(control: control, limit: 3)
    }

    private func attach(_ number: Int, _ identifier: Int32, user: UInt32?) throws {
        let pair = try DescriptorPair.datagramSockets()
        let port = PortConfiguration(
            name: "p", kind: .datagram, role: .guest, descriptor: try pair.first.duplicate().release(),
            maximumFrame: 2000)
        #expect(
            it.attach(port, to: number, identifier: identifier, module: "unix prog", description: "d", user: user)
                != nil)
    }

    private func refusal(_ kind: VDERequest.Kind, user: UInt32) -> String? {
        do throws(UnclassifiedError) {
            _ = try it.allocate(kind, user: user)
            return nil
        } catch {
            return error.description
        }
    }

    @Test func portsAreAllocatedInOrder() throws {
        for number in 1...3 {
            #expect(try it.allocate(.newControl(port: 0), user: 1000) == number)
            try attach(number, Int32(number), user: 1000)
        }
        #expect(refusal(.newControl(port: 0), user: 1000)?.contains("all 3 ports") == true)
        it.detach(2, from: 2)
        #expect(try it.allocate(.newControl(port: 0), user: 1000) == 2)
    }

    @Test func activePortAcceptsOnlyItsUser() throws {
        try attach(2, 10, user: 1000)
        #expect(try it.allocate(.newControl(port: 2), user: 1000) == 2)
        #expect(refusal(.newControl(port: 2), user: 1001)?.contains("in use") == true)
        #expect(refusal(.newControl(port: 4), user: 1000)?.contains("last one is 3") == true)
        try attach(1, 11, user: nil)
        #expect(refusal(.newControl(port: 1), user: 0) != nil, "a TAP shares its port with nobody")
    }

    @Test func reservedPortsAreSkipped() throws {
        #expect(try it.create(1) == 1)
        try it.setAllocatable(1, true)
        try it.setUser(1, 1001)
        #expect(try it.allocate(.newControl(port: 0), user: 1000) == 2)
        #expect(try it.allocate(.newControl(port: 0), user: 1001) == 1)
        #expect(refusal(.newControl(port: 1), user: 1000)?.contains("reserved") == true)
        #expect(try it.allocate(.newControl(port: 1), user: 0) == 1)
    }

    @Test func createdPortsAreNotAllocated() throws {
        #expect(try it.create(0) == 1)
        #expect(try it.allocate(.newControl(port: 0), user: 1000) == 2)
        #expect(try it.allocate(.newControl(port: 1), user: 1000) == 1)
    }

    @Test func managementPortIsZero() throws {
        #expect(try it.allocate(.newPort0, user: 1000) == 0)
        try attach(0, 5, user: 1000)
        #expect(it.ports[0]?.isActive == true)
    }

    @Test func returningDeviceGetsSamePort() throws {
        #expect(it.allocateForDevice() == 1)
        try attach(1, 10, user: nil)
        it.detach(10, from: 1)
        try it.setAllocatable(1, false)
        #expect(try it.allocate(.newControl(port: 0), user: 1000) == 2, "nobody else gets it meanwhile")
        try attach(2, 11, user: 1000)
        #expect(it.allocateForDevice(preferring: 1) == 1)
        #expect(it.allocateForDevice(preferring: 2) == 1, "a port in use is not for a device")
        #expect(it.ports[1]?.isAllocatable == true)
    }

    @Test func countersOutliveConnections() throws {
        try attach(1, 10, user: 1000)
        let counters = try #require(control.counters(of: it.ports[1]!.connections[0].attachment))
        counters.received(frames: 3, bytes: 300)
        #expect(it.ports[1]!.traffic.framesIn == 3)
        try it.resetCounters(1)
        #expect(it.ports[1]!.traffic == VirtualSwitch.Traffic())
        counters.received(frames: 1, bytes: 60)
        it.detach(10, from: 1)
        #expect(it.ports[1]!.traffic.framesIn == 1 && it.ports[1]!.traffic.bytesIn == 60)
    }
}
