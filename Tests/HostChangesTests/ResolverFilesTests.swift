// SPDX-License-Identifier: Apache-2.0
import HostChanges
import Platform
import TestSupport
import Testing
import Wire

@Suite struct ResolverFilesTests {
    @Test func fileIsWrittenAndRemoved() throws {
        let folder = try TemporaryFolder(), directory = folder.file("resolver"), files = ResolverFiles(in: directory)
        try files.write("vm.internal", SocketAddress(IPv4Address("127.0.0.1")!, port: 5300))
        let text = try #require(Files.text(directory + "/vm.internal"))
        #expect(text.hasSuffix("\nnameserver 127.0.0.1\nport 5300"))
        #expect(!files.isForeign("vm.internal"))
        try files.write("vm.internal", SocketAddress(.loopback, port: 53))
        #expect(Files.text(directory + "/vm.internal")?.hasSuffix("\nnameserver ::1\nport 53") == true)
        files.remove("vm.internal")
        #expect(!Files.exists(directory + "/vm.internal") && !files.isForeign("vm.internal"))
        files.remove("vm.internal")
    }

    @Test func filesOfOthersStay() throws {
        let folder = try TemporaryFolder(), files = ResolverFiles(in: folder.path)
        try Files.replace(folder.file("vm.internal"), Array("nameserver 192.0.2.1\n".utf8))
        _ = try ChildProcess.run(["ln", "-s", folder.file("vm.internal"), folder.file("a.example")])
        for domain in ["vm.internal", "a.example"] {
            #expect(files.isForeign(domain))
            files.remove(domain)
        }
        #expect(Files.text(folder.file("vm.internal")) == "nameserver 192.0.2.1")
        #expect(try Files.entries(folder.path).count == 2)
    }

    @Test func otherTextsAreNoDomains() {
        for text in ["vm.internal", "105.168.192.in-addr.arpa", "a-b.c"] { #expect(ResolverFiles.isDomain(text)) }
        for text in ["", ".", "..", "../x", "a/b", ".a", "a..b", "A.b", "a b", "a\u{e9}"] {
            #expect(!ResolverFiles.isDomain(text), "\(text)")
        }
    }
}
