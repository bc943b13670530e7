// SPDX-License-Identifier: Apache-2.0
import EventLoop
import FrameIO
import Platform
import Switching
import VhostUser
import VirtioRing

// Clients of vhost-user listeners. Such a client connects to a stream socket, and hands over its guest's memory. Its
// port of the switch is a device, which copies frames from and to that memory.

extension ListenerSession {
    func acceptFrontEnd(_ socket: consuming Descriptor, _ admission: ClientQuota.Admission, at path: String) {
        guard let peer = try? socket.peerCredentials() else { return }
        let description =
            "vhost-user \(path), process \(peer.process) of \(PrintableText.line(UserDatabase.userName(peer.user)))"
        var client = ListenerClient(description: description, module: "vhost-user", user: peer.user)
        client.process = peer.process
        client.admission = admission
        do throws(SystemError) {
            // The connection gets its port below, and ends on a later iteration of the loop.
            let place = Box<PortNumber?>(nil)
            let connection = try VhostConnection(socket, loop: loop) { [unowned self] reason in
                if let port = place.value { end(port, reason) }
            }
            var port = PortConfiguration(
                name: description, kind: .device, role: .guest,
                descriptor: try connection.device.portDescriptor().release(), maximumFrame: FrameLimits.device)
            port.device = connection.device.frameDevice
            port.owner = connection.device
            guard let number = attach(client, port) else { return connection.close() }
            place.value = number
            frontEnds[number] = connection
        } catch {
            rateLimited.log("refused \(description): \(error)", to: logger)
        }
    }
}
