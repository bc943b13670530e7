// SPDX-License-Identifier: Apache-2.0
import ControlSocket
import Testing

@Suite struct NetworkNameTests {
    @Test(arguments: ["a", "vde.ctl", "192.168.105.1", "my-net_2", String(repeating: "x", count: 64)])
    func goodNamesAreAccepted(name: String) { #expect(NetworkName(name)?.description == name) }

    @Test(arguments: [
        "", ".", "..", ".hidden", "-option", "a/b", "a b", "a\n", "ä", "a\u{1b}", String(repeating: "x", count: 65),
    ])
    func otherNamesAreRefused(name: String) { #expect(NetworkName(name) == nil) }

    @Test(arguments: [
        ("/tmp/vde", "vde"), ("/var/run/vde.ctl", "vde.ctl"), ("192.168.105.1", "192.168.105.1"),
        ("/tmp/my net", "my-net"),
        ("/", "network"), ("", "network"), ("/tmp/..", "network"), ("/tmp/-x", "x"),
    ])
    func defaultNameIsAlwaysGood(text: String, name: String) {
        let derived = NetworkName(derivedFrom: text)
        #expect(derived.description == name && NetworkName(derived.description) == derived)
    }

    @Test func numberedNameHasRoom() {
        let long = NetworkName(derivedFrom: String(repeating: "y", count: 200)).numbered(999)
        #expect(NetworkName(long.description) == long)
    }

    @Test func rightsFollowOwnerAndGroup() {
        var access = ControlAccess()
        access.owner = 1000
        access.isStartedByRoot = true
        access.group = 50
        func rights(_ user: UInt32, _ group: UInt32 = 7, member: Bool = false) -> ControlRights {
            access.rights(user: user, peerGroup: group) { _, _ in member }
        }
        #expect(rights(0) == .all)
        #expect(rights(1000) == [.counters, .details, .change])
        #expect(rights(1001) == [])
        #expect(rights(1001, 50) == .counters)
        #expect(rights(1001, member: true) == .counters)
        access.grants = [.publish]
        #expect(rights(1000) == [.counters, .details, .change, .publishAnywhere])
        access.isStartedByRoot = false
        #expect(rights(1000) == .all)
    }
}
