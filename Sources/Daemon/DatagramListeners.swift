// SPDX-License-Identifier: Apache-2.0
import Listeners
import EventLoop
import FrameIO
import Platform
import Switching
import VDESwitch

// Clients of datagram listeners. Each is known by the name that its socket has, and is answered there.
//
// Where the client takes datagrams from anybody, as QEMU does, it is answered through a socket of its own that is
// connected to it, which tells when it is full. A client that has connected its socket to the listener's takes them
// from the listener's alone (Linux, unix(7)): it is sent to by name.

extension ListenerSession {
    func admit(_ stranger: UnknownPeer, at port: PortNumber) {
        defer { control.rearm(port) }
        guard let listener = halls[port] else { return }
        // Others of its frames were on their way while the first one was dealt with.
        if clients.contains(where: { $0.value.name == stranger.name && $0.value.listener == port }) { return }
        let name = PrintableText.line((try? UnixPath(stranger.name))?.description ?? "")
        let user = stranger.user.map { " of \(Accounts.userName($0))" } ?? ""
        guard !stranger.name.isEmpty else {
            return complaints.log(
                "\(listener.path): a program\(user) sends from a socket without a name, to which nothing can be sent back; it must bind one first",
                to: logger)
        }
        guard stranger.name[0] == 0 || stranger.name[0] == UInt8(ascii: "/") else {
            return complaints.log(
                "\(listener.path): a program\(user) has bound the relative path \(name), which means something else here; it must bind an absolute one",
                to: logger)
        }
        guard stranger.user != nil || !tellsSenders else {
            return complaints.log(
                "\(listener.path): a datagram of \(name) was sent before its sender could be known, and is lost; the socket's unit wants PassCredentials=yes",
                to: logger)
        }
        // Its socket, and the pin.
        guard let admission = quota.admit(2) else {
            return complaints.log(
                "\(listener.path): turned away \(name)\(user): all descriptors for clients are in use", to: logger)
        }
        do throws(SystemError) {
            var client = ListenerClient(
                description: "dgram \(listener.path), \(name)\(user)", module: "dgram",
                user: stranger.user ?? Accounts.effectiveUser, needsProbes: true)
            client.name = stranger.name
            client.listener = port
            client.admission = admission
            try admit(client, stranger, listener, port)
        } catch {
            let reason =
                error.code == Errno.notPermitted ? "it belongs to somebody else than who sends from it" : error.reason
            complaints.log("\(listener.path): turned away \(name)\(user): \(reason)", to: logger)
        }
    }

    private func admit(
        _ client: ListenerClient, _ stranger: UnknownPeer, _ listener: Listener, _ port: PortNumber
    ) throws(SystemError) {
        // The name must be the sender's own socket, and stay that: through a link we would write to whatever it leads
        // to.
        let pin =
            stranger.name[0] == 0
            ? -1 : try Descriptor.peerHandle(stranger.name, owner: stranger.user ?? 0)?.release() ?? -1
        let holder = pin < 0 ? nil : Holder(pin)
        let target = pin < 0 ? stranger.name : Array("/proc/self/fd/\(pin)".utf8)
        let socket = try UnixSocket.datagram()
        setBuffers(of: socket, isStream: false)
        do throws(SystemError) {
            try socket.connect(to: UnixPath(target))
        } catch {
            guard error.code == Errno.notPermitted else { throw error }
            admit(client, try listener.socket.duplicate(), kind: .datagramClient) {
                ($0.listener, $0.peer, $0.destination, $0.peerHandle) = (
                    port, stranger.name, target, holder?.release() ?? -1
                )
            }
            return
        }
        admit(client, socket, kind: .datagram) { ($0.listener, $0.peer) = (port, stranger.name) }
    }
}

/// Keeps a descriptor open until somebody else does.
private final class Holder {
    private var descriptor: Descriptor?

    init(_ raw: Int32) { descriptor = Descriptor(adopting: raw) }

    func release() -> Int32 { descriptor.take()?.release() ?? -1 }
}
