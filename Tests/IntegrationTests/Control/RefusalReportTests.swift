// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// What a subscription to refusals does to the rules of a TAP.
extension IntegrationTests.EventKinds {
    /// The rules of the table with their handles, which a replacement of the table would change, its counter, and the
    /// elements of its sets without the time that they have left.
    private func rules(_ fixture: EventFixture) throws -> String {
        try fixture.host.run(
            "sh", "-c", "nft -a list table inet vde_vmnet_vmnet0 | sed -E 's/ expires [0-9a-z]+//'")
    }

    /// A subscription to refusals changes one chain: counters, pins and connections stay.
    @Test(arguments: [EventUplink.tap, .tapWithNAT]) func subscriptionsLeaveOtherRulesAlone(uplink: EventUplink) throws
    {
        let fixture = try uplink.fixture(["--egress", "deny", "--allow", TestNetwork.internetName]) {
            try $0.startInternet()
        }
        let guest = try fixture.control.guest()
        try guest.lease()
        func refuse() throws { _ = try guest.namespace.attempt(["ping", "-c1", "-W1", "203.0.113.9"]) }
        _ = try guest.namespace.run(
            "dig", "+short", "+time=5", "+tries=1", "@\(uplink.gateway)", TestNetwork.internetName, "A")
        try refuse()
        let before = try rules(fixture)
        #expect(before.contains("203.0.113.1 timeout") && before.contains("packets 1 "), "\(before)")
        for _ in 0..<3 {
            let client = try fixture.follow("refusal")
            let during = try rules(fixture)
            #expect(during.contains("log group"))
            // Each line of before is there still.
            let lines = Set(during.split(separator: "\n"))
            #expect(before.split(separator: "\n").allSatisfy(lines.contains), "\(during)\n\(before)")
            client.program.kill()
            try eventually("the rules as they were") { try rules(fixture) == before }
        }
        let result = try fixture.control.python(
            """
            for _ in range(100):
                s = connect()
                s.sendall(b'{"id":1,"method":"subscribe","params":{"events":["refusal"]}}\\n')
                assert b"result" in s.makefile("rb").readline()
                s.close()
            """)
        #expect(result.succeeded, "\(result.error)")
        try eventually("the rules as they were") { try rules(fixture) == before }
        // Another rule of the policy goes into the same table, and the log on.
        let client = try fixture.follow("refusal")
        try fixture.control.run("publish", "add", "8080:192.168.105.9:80")
        try client.wait("refusal", "203.0.113.9") { try refuse() }
        #expect(try rules(fixture).contains("log group"))
        client.program.kill()
        try eventually("the end of the rule") { try !rules(fixture).contains("log group") }
        #expect(!fixture.control.daemon.program.output.contains("another program has removed or changed"))
        try fixture.stop()
    }
}
