// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// Our switch with a policy of names, before an Internet with several sites and a name server that may be hostile.
final class NamedEgressFixture {
    /// The addresses of the Internet's sites. Every one has web servers at ports 80, 443 and 8000, and a resolver.
    static let site = "198.51.100.1", forbidden = "198.51.100.3", deb = "198.51.100.4", site6 = "2001:db8:1::1"

    /// A name server (RFC 1035) over UDP and TCP. Names below flux.example have another address in each answer.
    private static let server = """
        import socket, struct, sys, threading
        A, CNAME, AAAA, HTTPS = 1, 5, 28, 65
        def labels(name): return b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\\0"
        four, six = socket.inet_aton, lambda t: socket.inet_pton(socket.AF_INET6, t)
        zone = {
            "site.example": [(A, four("198.51.100.1")), (AAAA, six("2001:db8:1::1")),
                (HTTPS, b"\\0\\1\\0\\0\\4\\0\\4" + four("198.51.100.3"))],
            "forbidden.example": [(A, four("198.51.100.3"))],
            "alias.site.example": [(CNAME, "forbidden.example")],
            "deb.debian.example": [(A, four("198.51.100.4"))],
            "rebind.site.example": [(A, four("127.0.0.1"))],
            "lan.site.example": [(A, four("198.51.100.1")), (A, four("192.168.77.1"))],
            "cloud.site.example": [(A, four("169.254.169.254")), (AAAA, six("fd00:ec2::254"))],
            "huge.site.example": [(A, bytes([198, 51, 101, i % 250 + 1])) for i in range(1000)],
        }
        count = 0
        def record(owner, type, data): return labels(owner) + struct.pack(">HHIH", type, 1, 5, len(data)) + data
        def answer(query, stream):
            global count
            end, names = 12, []
            while query[end]:
                names.append(query[end + 1:end + 1 + query[end]].decode())
                end += 1 + query[end]
            name, kind = ".".join(names).lower(), struct.unpack(">H", query[end + 1:end + 3])[0]
            question, records = query[12:end + 5], []
            if name.startswith("flux."):
                count += 1
                found = [(A, bytes([198, 51, 100, 1 + count % 250]))]
            else:
                found = zone.get(name)
            owner = name
            for step in range(4):
                for type, data in found or []:
                    if type == CNAME:
                        records.append(record(owner, type, labels(data)))
                        owner, found = data, zone[data]
                        break
                else:
                    break
            for type, data in found or []:
                if type == kind: records.append(record(owner, type, data))
            code = 3 if found is None else 0
            cut = not stream and sum(map(len, records)) > 400
            flags = 0x8180 | code | (0x200 if cut else 0)
            head = query[:2] + struct.pack(">HHHHH", flags, 1, 0 if cut else len(records), 0, 0)
            return head + question + (b"" if cut else b"".join(records))
        def serve(connection):
            with connection:
                while True:
                    head = connection.recv(2, socket.MSG_WAITALL)
                    if len(head) < 2: return
                    reply = answer(connection.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL), True)
                    connection.sendall(struct.pack(">H", len(reply)) + reply)
        listener = socket.create_server(("0.0.0.0", 53))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("203.0.113.1", 53))
        def accept():
            while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        print("up", flush=True)
        while True:
            query, sender = datagrams.recvfrom(4096)
            datagrams.sendto(answer(query, False), sender)
        """

    /// What guests' programs of Python begin with: `lookup` returns response code and addresses, `open` a connection.
    static let client = """
        import random, socket, struct, sys, time
        def lookup(name, kind=1, server="192.168.105.1", stream=False, wait=5):
            query = struct.pack(">HHHHHH", random.randrange(65536), 0x100, 1, 0, 0, 0)
            query += b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\\0"
            query += struct.pack(">HH", kind, 1)
            s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
            s.settimeout(wait)
            try:
                s.connect((server, 53))
                if stream:
                    s.sendall(struct.pack(">H", len(query)) + query)
                    reply = s.recv(struct.unpack(">H", s.recv(2, socket.MSG_WAITALL))[0], socket.MSG_WAITALL)
                else:
                    s.send(query)
                    reply = s.recv(65536)
            except OSError: return "none", []
            flags, _, answers = struct.unpack(">HHH", reply[2:8])
            if flags & 0x200 and not stream: return lookup(name, kind, server, True, wait)
            offset, found = len(query), []
            for _ in range(answers):
                while reply[offset]:
                    if reply[offset] >= 192: offset += 1; break
                    offset += 1 + reply[offset]
                type, _, _, length = struct.unpack(">HHIH", reply[offset + 1:offset + 11])
                data = reply[offset + 11:offset + 11 + length]
                if type == 1: found.append(socket.inet_ntoa(data))
                if type == 28: found.append(socket.inet_ntop(socket.AF_INET6, data))
                offset += 11 + length
            return flags & 15, found
        def open(address, port, wait=5):
            try: return socket.create_connection((address, port), timeout=wait)
            except OSError: return None
        def reaches(address, port, wait=2):
            s = open(address, port, wait)
            if s is None: return False
            try:
                s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                return s.recv(12).startswith(b"HTTP/")
            except OSError: return False

        """

    /// A server of HTTPS (arguments: directory, port, certificate, key). It prints the name in each ClientHello.
    private static let secure = """
        import functools, http.server, ssl, sys
        class Server(http.server.ThreadingHTTPServer): daemon_threads = True
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *words): pass
        server = Server(("", int(sys.argv[2])), functools.partial(Handler, directory=sys.argv[1]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
        context.sni_callback = lambda connection, name, _: print("name", name, flush=True)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.serve_forever()
        """

    let control: ControlFixture
    /// The certificate of the authority that has signed that of site.example.
    let authority: String
    private(set) var secureServer: BackgroundProgram?
    private var servers: [BackgroundProgram] = []

    /// - Parameters:
    ///   - rules: of `--allow`; nil without `--egress deny`.
    ///   - isOldKernel: the kernel seems to have no `force_forwarding`.
    ///   - securePort: where a server of HTTPS is in place of one of HTTP.
    init(
        _ uplink: String, _ rules: [String]?, options: [String] = [], isOldKernel: Bool = false, securePort: Int? = nil
    ) throws {
        control = try ControlFixture(
            uplink, (rules.map { ["--egress", "deny"] + $0.flatMap { ["--allow", $0] } } ?? []) + options,
            isOldKernel: isOldKernel
        ) { network in
            for last in [1, 3, 4] { try network.internet.ip("addr", "add", "198.51.100.\(last)/32", "dev", "eth0") }
            for last in [2] + Array(5...250) {
                try network.internet.ip("addr", "add", "198.51.100.\(last)/32", "dev", "lo")
            }
            try network.host.ip("-6", "addr", "add", "2001:db8::2/64", "dev", "wan", "nodad")
            try network.host.ip("-6", "route", "add", "default", "via", "2001:db8::1")
            try network.internet.ip("-6", "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
            try network.internet.ip("-6", "addr", "add", "\(NamedEgressFixture.site6)/128", "dev", "lo", "nodad")
            try network.host.setResolvers("nameserver \(TestNetwork.internetAddress)\n")
        }
        authority = control.folder.file("authority")
        let pages = control.folder.file("www")
        try Files.makeDirectories(pages)
        try Files.replace(pages + "/index.html", Array("a site\n".utf8))
        let internet = control.network.internet
        for port in [80, 443, 853, 8000] where port != securePort {
            servers.append(try internet.start(["busybox", "httpd", "-f", "-p", "[::]:\(port)", "-h", pages]))
        }
        if let securePort {
            let key = control.folder.file("key"), certificate = control.folder.file("certificate")
            let request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
            let made = try internet.attempt(
                request + ["-subj", "/CN=authority", "-keyout", authority + ".key", "-out", authority])
            let signed = try internet.attempt(
                request + [
                    "-CA", authority, "-CAkey", authority + ".key", "-subj", "/CN=site", "-addext",
                    "subjectAltName=DNS:site.example", "-addext", "basicConstraints=critical,CA:false", "-keyout", key,
                    "-out", certificate,
                ])
            #expect(made.succeeded && signed.succeeded, "\(made.error)\(signed.error)")
            let server = try internet.start([
                "python3", "-c", NamedEgressFixture.secure, pages, "\(securePort)", certificate, key,
            ])
            try internet.waitForListener(on: securePort)
            secureServer = server
        }
        let names = try internet.start(["python3", "-c", NamedEgressFixture.server])
        try names.wait(for: "up", within: 10)
        servers.append(names)
        for port in [80, 443, 853, 8000] { try internet.waitForListener(on: port) }
    }

    func guest(_ name: String = "guest") throws -> PlugGuest {
        let guest = try control.guest(name)
        #expect(try guest.lease()["dns"] == IntegrationTests.gateway)
        return guest
    }

    /// What an expression of Python is in a guest, in the words of Python.
    func evaluate(_ guest: PlugGuest, _ expression: String) throws -> String {
        try run(guest, "print(repr((\(expression))))")
    }

    /// The output of a program of Python in a guest.
    func run(_ guest: PlugGuest, _ program: String) throws -> String {
        let result = try guest.namespace.attempt(["python3", "-c", NamedEgressFixture.client + program])
        #expect(result.succeeded, "\(result.error)")
        return result.output.trimmed
    }
}
