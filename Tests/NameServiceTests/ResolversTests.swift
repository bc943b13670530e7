// SPDX-License-Identifier: Apache-2.0
import NameService
import Platform
import TestSupport
import Testing
import Timing

@Suite struct ResolversTests {
    private let second = TimeAmount.seconds(1)

    @Test func removedAndRestoredFileIsReadAgain() throws {
        let folder = try TemporaryFolder(), path = folder.file("resolv.conf")
        try Files.replace(path, Array("nameserver 192.0.2.1\n".utf8))
        let resolvers = Resolvers(path: path)
        let servers = resolvers.servers
        #expect(servers.map(\.description) == ["192.0.2.1:53"])
        try Files.rename(path, to: folder.file("away"))
        var now = BootClock.now + 2 * second
        #expect(resolvers.refresh(now: now) && resolvers.servers.isEmpty)
        #expect(!resolvers.refresh(now: now), "still away")
        // The very same file: nothing of it has changed.
        try Files.rename(folder.file("away"), to: path)
        #expect(resolvers.refresh(now: now) && resolvers.servers == servers)
        now += second / 2
        try Files.replace(path, Array("nameserver 192.0.2.1\nnameserver 192.0.2.2\n".utf8))
        #expect(!resolvers.refresh(now: now), "not looked at more than once a second")
        now += second
        #expect(resolvers.refresh(now: now) && resolvers.servers.count == 2)
        // Empty for a moment, as an editor may leave it.
        try Files.overwrite(path, "")
        now += 2 * second
        #expect(resolvers.refresh(now: now) && resolvers.servers.isEmpty)
        try Files.overwrite(path, "nameserver 192.0.2.3\n")
        now += 2 * second
        #expect(resolvers.refresh(now: now) && resolvers.servers.map(\.description) == ["192.0.2.3:53"])
    }
}
