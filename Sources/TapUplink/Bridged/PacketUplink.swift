// SPDX-License-Identifier: Apache-2.0
import FrameIO
import HostChanges
import Lifecycle
import Logging
import Platform
import Switching
import Uplink

/// A packet socket on a network interface (packet(7)): guests share the interface with the host.
final class PacketUplink: Uplink {
    private let network: BridgedNetwork
    private let context: UplinkContext
    private var changes: HostChanges?
    private var link: BridgedLink?
    private(set) var port: PortNumber?

    init(_ network: BridgedNetwork, _ context: UplinkContext) {
        self.network = network
        self.context = context
    }

    var hostAddressing: HostAddressing? { nil }
    var isBridged: Bool { true }
    var isConnected: Bool { link.map { $0.loss == nil } ?? false }
    var details: UplinkDetails {
        var details = UplinkDetails()
        details.kind = "packet"
        details.interface = network.interface
        return details
    }

    var summary: String { "bridged to \(network.interface)" }

    func open() throws(ExitError) -> Bool {
        changes = try network.reserve(context)
        do throws(ExitError) {
            let descriptor = try openSocket().release()
            context.logger.notice(
                """
                guests and this host do not reach each other through \(network.interface) in bridged mode; with a \
                Linux \
                bridge as --vmnet-interface they do
                """)
            let configuration = PortConfiguration(
                name: network.interface, kind: .packet, role: .uplink, descriptor: descriptor,
                maximumFrame: FrameLimits.link(mtu: network.mtu))
            port = try context.attachUplink(configuration)
            link = try orUnavailable { () throws(SystemError) in
                try BridgedLink(network, by: network.interface, index: network.index, context)
            }
        } catch {
            undo()
            throw error
        }
        return true
    }

    private func openSocket() throws(ExitError) -> Descriptor {
        do throws(SystemError) {
            return try NetworkInterfaces.openPacketSocket(on: network.index)
        } catch {
            guard [Errno.notPermitted, Errno.accessDenied].contains(error.code) else {
                throw ExitError(.unavailable, error.explanation)
            }
            throw ExitError(
                .noPermission,
                """
                no permission to open a packet socket on \(network.interface); run this with sudo, or give it the \
                capability CAP_NET_RAW
                """)
        }
    }

    func handle(_ event: PortEvent) { context.reportFailure(event, port: port, device: network.interface) }

    func stop() { link?.stop() }

    func undo() { changes?.undo() }
}
