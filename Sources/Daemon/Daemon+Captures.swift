// SPDX-License-Identifier: Apache-2.0
import CaptureService
import DHCPService
import NetworkModel
import Platform
import Sessions
import Switching
import Wire

extension Daemon {
    /// What the ports are called in a capture.
    func captureInterfaces() -> [PortNumber: CaptureWriter.Interface] {
        var names: [PortNumber: [String]] = [:]
        let now = BootClock.now
        for lease in dhcpServer?.leases ?? [] where lease.expires > now {
            guard let port = dhcpServer?.port(of: lease) else { continue }
            let facts = [lease.name?.description, lease.address.description, lease.hardware.description]
            names[port, default: []].append(facts.compactMap(\.self).joined(separator: " "))
        }
        var interfaces: [PortNumber: CaptureWriter.Interface] = [:]
        for port in control.ports {
            let client = listeners?.client(of: port.number) ?? session?.client(of: port.number)
            var interface = NetworkCaptures.interface(port.number, control)
            interface.description =
                ([client?.description ?? port.name] + (names[port.number]?.sorted() ?? [])).joined(separator: ", ")
            interfaces[port.number] = interface
        }
        return interfaces
    }
}
