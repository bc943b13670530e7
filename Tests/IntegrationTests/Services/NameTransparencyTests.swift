// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// What resolvers and guests send each other arrives as it was sent.
    @Suite struct NameTransparency {
        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func messagesPassByteForByte(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try TransparencyFixture(uplink, options: ["--dns-cache", "off"])
            let guest = try fixture.guest()
            let output = try fixture.run(
                guest,
                """
                cookie = struct.pack('!HH', 10, 8) + b'12345678'
                subnet = struct.pack('!HHHBB', 8, 7, 1, 24, 0) + b'\\xc0\\0\\2'
                padding = struct.pack('!HH', 12, 300) + bytes(300)
                queries = [query('EcHo.TeSt'), query('echo.test', flags=0), query('echo.\\xff\\x01 x.test')]
                for flags in (0x0110, 0x0120, 0x0130, 0x0140): queries.append(query('echo.test', flags=flags))
                for type in (2, 15, 16, 28, 33, 35, 43, 46, 48, 52, 64, 65, 99, 255, 256, 257, 32769, 65280, 65535):
                    queries.append(query('echo.test', type=type, size=4096))
                for cls in (3, 4, 254, 255, 65280): queries.append(query('Echo.test', cls=cls))
                for do in (False, True):
                    for options in (b'', cookie, subnet, cookie + subnet + padding):
                        queries.append(query('eCho.test', size=1232, do=do, options=options))
                failed = 0
                for q in queries:
                    for stream in (False, True):
                        a = send(q, stream)
                        if a != answer(q, False):
                            failed += 1
                            print(stream, q, a)
                print(len(queries) * 2, 'sent,', failed, 'failed')
                """)
            #expect(output == "78 sent, 0 failed", "\(output)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// Longer than a frame, too.
        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func longResponsesArriveWhole(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try TransparencyFixture(uplink), guest = try fixture.guest()
            let output = try fixture.run(
                guest,
                """
                for size, edns in ((512, None), (600, 1232), (1232, 1232), (1472, 1472), (1473, 1473), (2500, 4096),
                                   (4096, 4096), (20000, 65535)):
                    q = query('big%d.test' % size, size=edns)
                    a = udp(q)
                    if a != answer(q, False): print('over UDP', size, len(a), a[:12])
                for size, edns in ((513, None), (1233, 1232), (4097, 4096)):
                    q = query('big%d.test' % size, size=edns)
                    a = udp(q)
                    if not truncated(a) or code(a) or len(a) > 100: print('not truncated', size, len(a))
                    if tcp(q) != answer(q, True): print('over TCP', size)
                for size in (20000, 65535):
                    for edns in (None, 1232):
                        q = query('big%d.test' % size, size=edns)
                        a = tcp(q)
                        if a != answer(q, True): print('over TCP', size, edns, len(a))
                print('end')
                """)
            #expect(output == "end", "\(output)")
        }

        /// By IPv6 the gateway sends fragments too, which a guest's kernel joins.
        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func longResponsesArriveWholeByIPv6(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try TransparencyFixture(uplink)
            let guest = try PlugGuest("six", path: fixture.path, folder: fixture.network.folder)
            let gateway = "\(IPv6Address(try guest.address6().high, 1))"
            let output = try fixture.run(
                guest,
                """
                SERVER = '\(gateway)'
                for size, edns in ((512, None), (1232, 1232), (1452, 1452), (1453, 1453), (2500, 4096), (4096, 4096),
                                   (20000, 65535), (65507, 65535)):
                    q = query('big%d.test' % size, size=edns)
                    a = udp(q, SERVER)
                    if a != answer(q, False): print('over UDP', size, len(a), a[:12])
                for size, edns in ((513, None), (1233, 1232), (4097, 4096)):
                    q = query('big%d.test' % size, size=edns)
                    a = udp(q, SERVER)
                    if not truncated(a) or code(a) or len(a) > 100: print('not truncated', size, len(a))
                    if tcp(q, SERVER) != answer(q, True): print('over TCP', size)
                print('end')
                """)
            #expect(output == "end", "\(output)")
            let answer = try guest.namespace.run(
                "dig", "+bufsize=4096", "+nocookie", "+notcp", "+ignore", "+time=5", "@\(gateway)", "big4000.test",
                "TYPE65281")
            #expect(answer.contains("MSG SIZE  rcvd: 4000"), "\(answer)")
            #expect(answer.contains("flags: qr rd ra;"), "not truncated: \(answer)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// Names that the program answers by itself have the letters of the query, and OPT if the query has it.
        @Test func ownAnswersKeepLettersAndOPT() throws {
            let fixture = try TransparencyFixture(.user), guest = try fixture.guest()
            let output = try fixture.run(
                guest,
                """
                for text in ('LocalHost', 'GateWay.vm.Internal', 'nOne.VM.internal'):
                    q = query(text, size=1232, do=True)
                    for stream in (False, True):
                        a = send(q, stream)
                        if a[:2] != q[:2] or a[12:12+len(name(text))] != name(text): print(text, a)
                        if struct.unpack('!H', a[10:12])[0] != 1 or a[-11:-8] != b'\\0\\0\\x29': print('OPT', text, a)
                print('end')
                """)
            #expect(output == "end", "\(output)")
        }
    }

    /// Servers in place of the host's.
    @Suite struct ChosenNameServers {
        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func serverOfTheLongestDomainIsQueried(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try TransparencyFixture(
                uplink,
                servers: [("127.0.0.2", 53), ("127.0.0.3", 5353), ("127.0.0.4", 53), ("127.0.0.5", 53)],
                options: [
                    "--dns", "127.0.0.3:5353", "--dns", "corp.example=127.0.0.4",
                    "--dns", "lab.Corp.example=127.0.0.5:53",
                ])
            let guest = try fixture.guest()
            let output = try fixture.run(
                guest,
                """
                for stream in (False, True):
                    print(*[address(n, stream) for n in ('tag.test', 'tag.corp.example', 'tag.x.CORP.example',
                        'tag.lab.corp.example', 'tag.xcorp.example', 'tag.example')])
                """)
            #expect(output == "2 3 3 4 2 2\n2 3 3 4 2 2", "\(output)")
            let status = try fixture.status
            #expect(status.contains("127.0.0.3:5353") && status.contains("lab.corp.example=127.0.0.5:53"), "\(status)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// Without `--dns SERVER`, all other names are the host's resolvers'.
        @Test func domainServerGoesWithTheHostsResolvers() throws {
            let fixture = try TransparencyFixture(
                .user, servers: [("127.0.0.2", 53), ("127.0.0.4", 53)],
                options: ["--dns", "corp.example=192.0.2.254", "--dns", "corp.example=127.0.0.4"])
            let guest = try fixture.guest()
            let output = try fixture.run(guest, "print(address('tag.test'), address('tag.corp.example'))")
            // The first server of the domain is silent, and the host's resolvers are not queried in its place.
            #expect(output == "1 2", "\(output)")
        }

        @Test func ownGatewayIsRefused() throws {
            let network = try TestNetwork()
            let daemon = try VMNetDaemon.start(
                in: network.host,
                ["--switch", "--uplink", "user", "--dns", "a.example=192.168.105.1", network.folder.file("own")],
                folder: network.folder)
            #expect(try daemon.waitForEnd() == .exited(64))
            #expect(daemon.output.contains("--dns a.example=192.168.105.1:53"), "\(daemon.output)")
        }
    }

    /// Responses that are kept.
    @Suite struct NameCache {
        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func responseIsKeptForItsTimeToLive(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try TransparencyFixture(uplink), guest = try fixture.guest(), other = try fixture.guest("b")
            let output = try fixture.run(
                guest,
                """
                a, b = udp(query('count1.test')), tcp(query('CoUnT1.test'))
                print(a[-1], b[-1], b[12:18] == b'\\6CoUnT', ttl(b) <= 2)
                # Another response, for all that is certain.
                for q in (query('count1.test', flags=0x0110), query('count1.test', size=1232),
                          query('count1.test', size=1232, do=True), query('count1.test', type=28),
                          query('count1.test', cls=3)): udp(q)
                print(udp(query('count1.test', flags=0x0120))[-1] > 1)
                for number in range(3):
                    a, b = udp(query('none1.test')), udp(query('none1.test'))
                    print(code(a), code(b), len(a) == len(b))
                """)
            #expect(
                output == "1 1 True True\nTrue\n" + [String](repeating: "3 3 True", count: 3).joined(separator: "\n"))
            // For all guests.
            #expect(try fixture.run(other, "print(address('tag.test'))") == "1")
            try eventually("the end of its time") {
                try fixture.run(other, "print(udp(query('count1.test'))[-1] > 1)") == "True"
            }
        }

        @Test func cacheCanBeOff() throws {
            let fixture = try TransparencyFixture(.user, options: ["--dns-cache", "off"]), guest = try fixture.guest()
            #expect(try fixture.run(guest, "print(*[address('count.test') for _ in range(3)])") == "1 2 3")
        }
    }
}
