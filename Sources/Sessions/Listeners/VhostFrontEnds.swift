// SPDX-License-Identifier: Apache-2.0
import EventLoop
import FrameIO
import Lifecycle
import Listeners
import Platform
import Switching
import VhostUser
import VirtioRing

// Front ends of vhost-user. Such a program connects to a stream socket, or listens on one, and hands over its guest's
// memory. Its port of the switch is a device, which copies frames from and to that memory.

extension ListenerSession {
    /// Connects to the front ends that listen.
    func connectFrontEnds() {
        for path in configuration.vhostUserServers {
            let place = Box<FrontEndConnector?>(nil)
            let connector = FrontEndConnector(to: path, loop: loop, logger: logger) { [unowned self] socket in
                guard let admission = quota.admit(VhostConnection.descriptorCount) else {
                    rateLimited.log("no front end can be served at \(path): \(ClientQuota.exhaustion)", to: logger)
                    return false
                }
                return attachFrontEnd(socket, admission, at: path) { place.value?.connectAgain() }
            }
            place.value = connector
            connectors.append(connector)
            connector.connect()
        }
    }

    /// Serves the front ends behind inherited sockets.
    func adoptFrontEnds() throws(ExitError) {
        for descriptor in configuration.vhostUserDescriptors { try adoptFrontEnd(descriptor) }
    }

    /// Serves the front end behind an inherited socket.
    func adoptFrontEnd(_ descriptor: InheritedDescriptor) throws(ExitError) {
        guard let admission = quota.admit(VhostConnection.descriptorCount) else {
            throw ExitError(.unavailable, "descriptor \(descriptor.raw) cannot be served: \(ClientQuota.exhaustion)")
        }
        guard attachFrontEnd(Descriptor(inheriting: descriptor.raw), admission, at: "descriptor \(descriptor.raw)")
        else { throw ExitError(.unavailable, "descriptor \(descriptor.raw) cannot be served") }
    }

    /// Gives a front end a port. Returns whether it has one.
    /// - Parameter onEnd: called when the front end has left, or was disconnected.
    @discardableResult
    func attachFrontEnd(
        _ socket: consuming Descriptor, _ admission: ClientQuota.Admission, at path: String,
        onEnd: @escaping () -> Void = {}
    ) -> Bool {
        guard let peer = try? socket.peerCredentials() else { return false }
        let description =
            "vhost-user \(path), process \(peer.process) of \(PrintableText.line(UserDatabase.userName(peer.user)))"
        var client = ListenerClient(description: description, module: "vhost-user", user: peer.user)
        client.process = peer.process
        client.admission = admission
        client.onEnd = onEnd
        do throws(SystemError) {
            // The connection gets its port below, and ends on a later iteration of the loop.
            let place = Box<PortNumber?>(nil)
            let connection = try VhostConnection(socket, mtu: configuration.mtu, loop: loop) { [unowned self] reason in
                if let port = place.value { end(port, reason) }
            }
            var port = PortConfiguration(
                name: description, kind: .device, role: .guest,
                descriptor: try connection.device.portDescriptor().release(), maximumFrame: FrameLimits.device)
            port.device = connection.device.frameDevice
            port.owner = connection.device
            guard let number = attach(client, port) else {
                connection.close()
                return false
            }
            place.value = number
            frontEnds[number] = connection
            return true
        } catch {
            rateLimited.log("refused \(description): \(error)", to: logger)
            return false
        }
    }
}
