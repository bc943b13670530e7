// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// A host whose resolvers are programs of Python that answer as the name defines, over UDP and TCP, and guests that
/// send them any message.
final class TransparencyFixture {
    /// What a resolver answers to which message; both sides compute it.
    ///
    ///     echo.*     one record of the query's type and class, whose data is the query without its id; AD; OPT with
    ///                an option if the query has OPT
    ///     bigN.*     N bytes, or none and TC if the client takes less
    ///     tag.*      the address 192.0.2.TAG, for 60 seconds
    ///     count.*    the address 192.0.2.N for the Nth query, for 2 seconds
    ///     none.*     no such name, with an SOA record for 2 seconds
    private static let messages = """
        import socket, struct, sys, threading, time
        def name_end(q):
            at = 12
            while q[at]: at += 1 + q[at]
            return at + 1
        def opt(q):
            end = name_end(q) + 4
            if struct.unpack('!H', q[10:12])[0] and q[end:end+3] == b'\\0\\0\\x29': return q[end:]
            return None
        def limit(q, stream):
            o = opt(q)
            return 65535 if stream else max(512, struct.unpack('!H', o[3:5])[0]) if o else 512
        counts = {}
        def answer(q, stream, tag=1):
            end = name_end(q) + 4
            first = q[13:13+q[12]].lower()
            flags = struct.unpack('!H', q[2:4])[0] & 0x0110 | 0x8080
            o = opt(q)
            extra = b''
            if o:
                do = struct.unpack('!I', o[5:9])[0] & 0x8000
                extra = b'\\0\\0\\x29' + struct.pack('!HIHHH', 1400, do, 6, 65001, 2) + b'ab'
            answers, authority = [], []
            ttl = 60
            if first == b'echo':
                flags |= 0x20
                answers = [b'\\xc0\\x0c' + q[end-4:end] + struct.pack('!IH', ttl, len(q)-2) + q[2:]]
            elif first == b'tag':
                answers = [b'\\xc0\\x0c\\0\\1\\0\\1' + struct.pack('!IH', ttl, 4) + bytes([192,0,2,tag])]
            elif first.startswith(b'count'):
                key = q[12:end].lower()
                counts[key] = counts.get(key, 0) + 1
                answers = [b'\\xc0\\x0c\\0\\1\\0\\1' + struct.pack('!IH', 2, 4) + bytes([192,0,2,counts[key] & 255])]
            elif first.startswith(b'none'):
                key = q[12:end].lower()
                counts[key] = counts.get(key, 0) + 1
                flags |= 3
                data = b'\\1m\\0\\1r\\0' + struct.pack('!IIIII', counts[key], 1, 1, 1, 2)
                authority = [b'\\4test\\0\\0\\6\\0\\1' + struct.pack('!IH', 300, len(data)) + data]
            elif first.startswith(b'big'):
                size = int(first[3:])
                if size > limit(q, stream): flags |= 0x200
                else:
                    rest = size - end - len(extra)
                    while rest >= 13:
                        part = min(rest - 12, 1000)
                        if 0 < rest - 12 - part < 12: part -= 12
                        answers.append(b'\\xc0\\x0c\\xff\\1\\0\\1' + struct.pack('!IH', ttl, part) + b'x' * part)
                        rest -= 12 + part
                    assert rest == 0, rest
            head = q[:2] + struct.pack('!HHHHH', flags, 1, len(answers), len(authority), 1 if extra else 0)
            return head + q[12:end] + b''.join(answers) + b''.join(authority) + extra

        """

    private static let server =
        messages + """
            address, port, tag = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
            u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            u.bind((address, port))
            t = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            t.bind((address, port))
            t.listen(64)
            def read(s, n):
                data = b''
                while len(data) < n:
                    more = s.recv(n - len(data))
                    if not more: raise OSError
                    data += more
                return data
            def connection(s):
                try:
                    while True:
                        q = read(s, struct.unpack('!H', read(s, 2))[0])
                        a = answer(q, True, tag)
                        s.sendall(struct.pack('!H', len(a)) + a)
                except OSError: s.close()
            def streams():
                while True: threading.Thread(target=connection, args=(t.accept()[0],), daemon=True).start()
            threading.Thread(target=streams, daemon=True).start()
            print('up', flush=True)
            while True:
                q, client = u.recvfrom(65535)
                u.sendto(answer(q, False, tag), client)

            """

    private static let client =
        messages + """
            import binascii, random
            SERVER = '192.168.105.1'
            def name(text): return b''.join(bytes([len(l)]) + l for l in text.encode('latin1').split(b'.')) + b'\\0'
            def query(text, type=1, cls=1, flags=0x0100, size=None, do=False, options=b'', ident=None):
                extra = b''
                if size is not None:
                    extra = b'\\0\\0\\x29' + struct.pack('!HIH', size, 0x8000 if do else 0, len(options)) + options
                ident = random.randrange(65536) if ident is None else ident
                return struct.pack('!HHHHHH', ident, flags, 1, 0, 0, 1 if extra else 0) + name(text) + \\
                    struct.pack('!HH', type, cls) + extra
            def udp(q, server=SERVER):
                s = socket.socket(socket.AF_INET6 if ':' in server else socket.AF_INET, socket.SOCK_DGRAM)
                s.settimeout(5)
                s.sendto(q, (server, 53))
                return s.recvfrom(65535)[0]
            def read(s, n):
                data = b''
                while len(data) < n:
                    more = s.recv(n - len(data))
                    if not more: raise OSError('closed')
                    data += more
                return data
            def tcp(q, server=SERVER):
                s = socket.create_connection((server, 53), 5)
                s.sendall(struct.pack('!H', len(q)) + q)
                return read(s, struct.unpack('!H', read(s, 2))[0])
            def send(q, stream): return tcp(q) if stream else udp(q)
            def code(a): return a[3] & 15
            def truncated(a): return a[2] & 2 != 0
            def address(text, stream=False):
                a = send(query(text), stream)
                return str(a[-1]) if code(a) == 0 and a[7] else 'code %d' % code(a)
            def ttl(a): return struct.unpack('!I', a[-10:-6])[0]

            """

    let network: TestNetwork
    let path: String
    let daemon: VMNetDaemon
    private var servers: [BackgroundProgram] = []

    /// - Parameters:
    ///   - servers: address and port; the tag of the first one is 1.
    ///   - resolvers: the host's.
    init(
        _ uplink: NameServiceFixture.Uplink, servers: [(address: String, port: Int)] = [("127.0.0.2", 53)],
        resolvers: [String] = ["127.0.0.2"], options: [String] = []
    ) throws {
        network = try TestNetwork()
        path = network.folder.file("own")
        try network.host.setResolvers(resolvers.map { "nameserver \($0)\n" }.joined())
        for (index, server) in servers.enumerated() {
            let program = try network.host.start([
                "python3", "-c", TransparencyFixture.server, server.address, "\(server.port)", "\(index + 1)",
            ])
            try program.wait(for: "up", within: 10)
            self.servers.append(program)
        }
        daemon = try VMNetDaemon(
            in: network.host,
            ["--switch", "--uplink", uplink.rawValue, "--control", network.folder.file("control"), path] + options,
            folder: network.folder)
    }

    /// What `status --json` prints.
    var status: String {
        get throws {
            try network.host.run(
                TestHost.product("vde_vmnet"), "status", network.folder.file("control"), "--json")
        }
    }

    func guest(_ name: String = "guest") throws -> PlugGuest {
        let guest = try PlugGuest(name, path: path, folder: network.folder)
        #expect(try guest.lease()["dns"] == IntegrationTests.gateway)
        return guest
    }

    /// The output of a program of Python in a guest.
    func run(_ guest: PlugGuest, _ program: String) throws -> String {
        let result = try guest.namespace.attempt(["python3", "-c", TransparencyFixture.client + program])
        #expect(result.succeeded, "\(result.error)")
        return result.output.trimmed
    }
}
