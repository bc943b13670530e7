// SPDX-License-Identifier: Apache-2.0
import FrameIO
import HostChanges
import Lifecycle
import Platform
import Switching
import Uplink
import Wire

/// A TAP that is a port of a Linux bridge or of an Open vSwitch bridge.
final class BridgedUplink: Uplink {
    private let network: BridgedNetwork
    private let options: UplinkOptions
    private let context: UplinkContext
    private var changes: HostChanges?
    private var tap = ""
    private var link: BridgedLink?
    private(set) var port: PortNumber?

    init(_ network: BridgedNetwork, _ options: UplinkOptions, _ context: UplinkContext) {
        self.network = network
        self.options = options
        self.context = context
    }

    var hostAddressing: HostAddressing? { nil }
    var isBridged: Bool { true }
    var isConnected: Bool { link.map { $0.loss == nil } ?? false }

    var details: UplinkDetails {
        var details = UplinkDetails()
        details.kind = "bridged"
        details.interface = network.interface
        return details
    }

    var summary: String { "bridged to \(network.interface) by \(tap)" }

    func open() throws(ExitError) -> Bool {
        changes = try network.reserve(context)
        do throws(ExitError) {
            let device = try openTAP()
            tap = device.name
            let descriptor = try orUnavailable { () throws(SystemError) in
                try device.descriptor.duplicate().release()
            }
            let configuration = PortConfiguration(
                name: tap, kind: .tap, role: .uplink, descriptor: descriptor,
                maximumFrame: FrameLimits.link(mtu: network.mtu))
            port = try context.attachUplink(configuration)
            link = try orUnavailable { () throws(SystemError) in
                try BridgedLink(network, by: tap, index: device.index, context)
            }
        } catch {
            undo()
            throw error
        }
        return true
    }

    /// A TAP that is a port of the bridge: made here, or without the privilege, by QEMU's helper.
    private func openTAP() throws(ExitError) -> TapDevice {
        let bridge = network.interface
        // A bridge without a configured hardware address takes the lowest address of its ports. The TAP's address is
        // higher than most, so that the bridge's address does not change.
        let seed = options.interfaceID ?? Array("\(bridge)-\(CurrentProcess.identifier)".utf8)
        let hardware = MACAddress(MACAddress(locallyAdministeredFrom: seed).value | 0xfeff_0000_0000)
        do throws(ExitError) {
            let device = try TapDevice.make(named: options.tapName, mac: hardware, mtu: network.mtu)
            try join(device, bridge)
            return device
        } catch {
            // The helper supports Linux bridges only, and chooses the TAP's name.
            guard error.status == .noPermission, network.kind == .bridge, options.tapName == nil else { throw error }
            return try openByHelper(bridge)
        }
    }

    private func join(_ device: borrowing TapDevice, _ bridge: String) throws(ExitError) {
        do throws(SystemError) {
            if network.kind == .bridge {
                return try NetworkInterfaces.configure(device.index, bridge: network.index, up: true)
            }
            try changes?.log.add(.switchPort(device.name, bridge: bridge))
            try NetworkInterfaces.configure(device.index, up: true)
        } catch {
            let isDenied = network.kind == .bridge && [Errno.notPermitted, Errno.accessDenied].contains(error.code)
            throw ExitError(isDenied ? .noPermission : .unavailable, error.description)
        }
        if let failure = OpenVSwitch.addPort(device.name, to: bridge) {
            throw ExitError(.unavailable, "Open vSwitch did not add \(device.name) to \(bridge): \(failure)")
        }
    }

    private func openByHelper(_ bridge: String) throws(ExitError) -> TapDevice {
        do throws(UnclassifiedError) {
            return try BridgeHelper.open(bridge, program: options.bridgeHelper)
        } catch {
            throw ExitError(
                .noPermission, "no permission to make a TAP a port of \(bridge), and \(error); or run this with sudo")
        }
    }

    func handle(_ event: PortEvent) { context.reportFailure(event, port: port, device: tap) }

    func stop() { link?.stop() }

    func undo() { changes?.undo() }
}

extension UplinkContext {
    /// Attaches the uplink's port. Closes the descriptor if that fails.
    func attachUplink(_ configuration: PortConfiguration) throws(ExitError) -> PortNumber {
        guard let number = attach(configuration) else {
            _ = Descriptor(adopting: configuration.descriptor)
            throw ExitError(.unavailable, "no port is left for the uplink")
        }
        return number
    }

    /// Reports that the uplink's device has failed, if `event` reports that.
    func reportFailure(_ event: PortEvent, port: PortNumber?, device: String) {
        guard event.port == port, case .unreachable(_, let code) = event else { return }
        // EIO of a TAP, ENETDOWN of a packet socket: the interface is down, perhaps on purpose.
        guard code != Errno.ioError, code != Errno.networkDown else { return }
        guard NetworkInterfaces.index(of: device) != nil else { return reportRemoval(of: device) }
        let reason = SystemError(code: code, "use").reason
        onFailure(ExitError(.unavailable, "the uplink \(device) has failed: \(reason); start vde_vmnet again"))
    }

    /// Reports that the uplink's device has been removed.
    func reportRemoval(of device: String) {
        onFailure(
            ExitError(
                .unavailable,
                """
                \(device), the uplink of the guests, is gone: another program has removed, renamed or moved it, or it \
                was unplugged; start vde_vmnet again when it is back
                """))
    }
}
