// SPDX-License-Identifier: Apache-2.0
import Listeners
import EventLoop
import FrameIO
import Platform
import Switching
import VDESwitch

// Clients of datagram listeners. A client is identified by the name that its socket is bound to, and receives frames
// there.
//
// If the client receives datagrams from any socket, as QEMU does, frames are sent through a socket that is connected to
// it and reports when it is full. A client that has connected its socket to the listener receives datagrams from the
// listener only (Linux, unix(7)). Frames for it are sent through the listener, by name.

extension ListenerSession {
    func attach(_ stranger: UnknownPeer, at port: PortNumber) {
        defer { control.rearm(port) }
        guard let listener = datagramListeners[port] else { return }
        // More of the client's frames may have been queued after its first one.
        if clients.contains(where: { $0.value.name == stranger.name && $0.value.listener == port }) { return }
        let name = PrintableText.line((try? UnixPath(stranger.name))?.description ?? "")
        let user = stranger.user.map { " of \(UserDatabase.userName($0))" } ?? ""
        guard !stranger.name.isEmpty else {
            return rateLimited.log(
                """
                \(listener.path): a program\(user) sends from a socket without a name, to which no frame can be sent; \
                it must bind one first
                """,
                to: logger)
        }
        guard stranger.name[0] == 0 || stranger.name[0] == UInt8(ascii: "/") else {
            return rateLimited.log(
                """
                \(listener.path): a program\(user) has bound the relative path \(name), which is relative to another \
                directory; it must bind an absolute one
                """,
                to: logger)
        }
        guard stranger.user != nil || !reportsSenders else {
            return rateLimited.log(
                """
                \(listener.path): a datagram of \(name) was sent before its sender could be known, and is lost; set \
                PassCredentials=yes in the socket unit
                """,
                to: logger)
        }
        // One descriptor for its socket, one for the handle of its name.
        guard let admission = quota.admit(2) else {
            return rateLimited.log(
                "\(listener.path): refused \(name)\(user): \(ClientQuota.exhaustion)", to: logger)
        }
        do throws(SystemError) {
            var client = ListenerClient(
                description: "dgram \(self.name(of: listener)), \(name)\(user)", module: "dgram",
                user: stranger.user ?? CurrentProcess.effectiveUser, needsProbes: true)
            client.name = stranger.name
            client.listener = port
            client.admission = admission
            try attach(client, stranger, listener, port)
        } catch {
            let reason =
                error.code == Errno.notPermitted ? "it belongs to another user than its sender" : error.reason
            rateLimited.log("\(listener.path): refused \(name)\(user): \(reason)", to: logger)
        }
    }

    private func attach(
        _ client: ListenerClient, _ stranger: UnknownPeer, _ listener: ListenerSocket, _ port: PortNumber
    ) throws(SystemError) {
        // The name must be the sender's own socket, and remain so. Through a link, frames would be written to its
        // target.
        let handle = Box<Descriptor?>(
            stranger.name[0] == 0 ? nil : try Descriptor.peerHandle(stranger.name, owner: stranger.user ?? 0))
        let raw = handle.value?.raw
        let target = raw.map { Array("/proc/self/fd/\($0)".utf8) } ?? stranger.name
        let socket = try Socket.unixDatagram()
        setBuffers(of: socket, isStream: false)
        do throws(SystemError) {
            try socket.connect(to: UnixPath(target))
        } catch {
            guard error.code == Errno.notPermitted else { throw error }
            attach(client, try listener.socket.duplicate(), kind: .datagramClient) {
                ($0.listener, $0.peer, $0.destination, $0.peerHandle) = (
                    port, stranger.name, target, handle.value.take()?.release() ?? -1
                )
                $0.offloadMTU = offloadMTU(of: listener.path)
            }
            return
        }
        attach(client, socket, kind: .datagram) {
            ($0.listener, $0.peer) = (port, stranger.name)
            $0.offloadMTU = offloadMTU(of: listener.path)
        }
    }
}
