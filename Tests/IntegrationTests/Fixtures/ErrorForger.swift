// SPDX-License-Identifier: Apache-2.0
import TestSupport

/// ICMP errors that a guest makes up, and UDP sockets that could take them for true.
enum ErrorForger {
    /// Sends an error with the arguments KIND TO SOURCE SOURCE-PORT DESTINATION DESTINATION-PORT: it quotes a datagram
    /// between these. KIND is `port`, for port unreachable, or an MTU.
    private static let forger = """
        import socket, struct, sys
        kind, to, source, source_port, destination, destination_port = sys.argv[1:]
        six = ":" in to
        def total(data):
            value = sum(struct.unpack(">%dH" % (len(data) // 2), data))
            while value >> 16: value = (value & 0xffff) + (value >> 16)
            return ~value & 0xffff
        family = socket.AF_INET6 if six else socket.AF_INET
        ends = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
        datagram = struct.pack(">HHHH", int(source_port), int(destination_port), 508, 0) + bytes(500)
        mtu = 0 if kind == "port" else int(kind)
        if six:
            quoted = struct.pack(">IHBB", 6 << 28, 508, 17, 63) + ends + datagram
            message = struct.pack(">BBHI", 2 if mtu else 1, 0 if mtu else 4, 0, mtu) + quoted
        else:
            quoted = struct.pack(">BBHHHBBH", 0x45, 0, 528, 1, 0x4000, 63, 17, 0) + ends
            quoted = quoted[:10] + struct.pack(">H", total(quoted)) + quoted[12:] + datagram
            message = struct.pack(">BBHI", 3, 4 if mtu else 3, 0, mtu) + quoted
            message = message[:2] + struct.pack(">H", total(message)) + message[4:]
        if six:
            # After an authentication header first, which nft does not look behind, and conntrack does.
            own = socket.socket(family, socket.SOCK_DGRAM)
            own.connect((to, 9))
            path = b"".join(socket.inet_pton(family, name) for name in (own.getsockname()[0], to))
            check = total(path + struct.pack(">II", len(message), 58) + message)
            body = struct.pack(">BBHII", 58, 1, 0, 1, 1) + message[:2] + struct.pack(">H", check) + message[4:]
            raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            raw.sendto(struct.pack(">IHBB", 6 << 28, len(body), 51, 64) + path + body, (to, 0))
        s = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
        s.sendto(message, (to, 0))
        """

    /// Sends an error from a guest, and waits until its host has handled it: pings take the same path.
    /// - Parameter gateway: the host's address on the guests' network.
    static func send(
        _ kind: String, from guest: PlugGuest, to host: String, quoting source: (String, Int),
        to destination: (String, Int), gateway: String
    ) throws {
        try guest.namespace.run(
            "python3", "-c", forger, kind, host, source.0, "\(source.1)", destination.0, "\(destination.1)")
        try guest.namespace.run("ping", "-c", "1", "-W", "5", gateway)
    }

    /// Sends each line of its input from PORT to TO TO-PORT, and prints what it receives and the errors of its socket.
    private static let client = """
        import os, select, socket, sys
        port, to, to_port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
        s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("", port))
        s.connect((to, to_port))
        print("up", flush=True)
        def handle(call):
            try: return call()
            except OSError as error: print(error.strerror, flush=True)
        while True:
            ready = select.select([s, 0], [], [])[0]
            if s in ready:
                text = handle(lambda: s.recv(2000))
                if text: print(text.decode().strip(), flush=True)
            if 0 in ready:
                line = os.read(0, 2000)
                if not line: break
                while not handle(lambda: s.send(line)): pass
        """

    static func startClient(
        in namespace: Namespace, port: Int, to address: String, port destination: Int
    ) throws -> BackgroundProgram {
        let program = try namespace.start(["python3", "-c", client, "\(port)", address, "\(destination)"])
        try program.wait(for: "up", within: 10)
        return program
    }

    /// Returns each datagram of both IP versions.
    static func startEcho(in namespace: Namespace, port: Int) throws -> BackgroundProgram {
        let script = """
            import socket
            s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.bind(("::", \(port)))
            print("up", flush=True)
            while True:
                try: s.sendto(*s.recvfrom(2000))
                except OSError: pass
            """
        let program = try namespace.start(["python3", "-c", script])
        try program.wait(for: "up", within: 10)
        return program
    }

    /// Whether the host at `namespace` has a smaller MTU for a path than its interface has.
    static func knowsPathMTU(_ namespace: Namespace, _ address: String, _ mtu: Int) throws -> Bool {
        try namespace.run("ip", "route", "get", address).contains("mtu \(mtu)")
    }
}
