// SPDX-License-Identifier: Apache-2.0
import Switching
import VDESwitch

// What the control socket reads and changes at the ports of this process's switch.

extension SwitchSession {
    package func client(of attachment: PortNumber) -> PortClient? {
        guard let number = virtualSwitch.number(of: attachment),
            let port = virtualSwitch.ports[number],
            let end = port.connections.first(where: { $0.attachment == attachment })
        else { return nil }
        return PortClient(
            number: number, module: end.module, description: end.description, user: port.user,
            process: process(ofEnd: end.identifier))
    }

    package func disconnect(port number: Int) throws(PortRefusal) {
        guard let port = virtualSwitch.ports[number], port.isActive else {
            throw PortRefusal(.noPort, "port \(number) has no client; vde_vmnet port list shows those that have")
        }
        let ends = port.connections.map(\.identifier)
        guard !port.connections.contains(where: { $0.module == "tuntap" }) else {
            throw PortRefusal(.unsupported, "port \(number) is this host's own, and cannot be disconnected")
        }
        for end in ends { disconnect(end: end, of: number) }
    }

    package func setVLAN(_ vlan: Int, of number: Int) throws(PortRefusal) {
        do throws(ConsoleError) {
            if vlan != 0, UInt16(exactly: vlan).map({ virtualSwitch.taggedPorts[$0] == nil }) ?? true {
                try virtualSwitch.createVLAN(vlan)
            }
            try virtualSwitch.setUntaggedVLAN(number, vlan)
        } catch {
            switch error {
            case .noSuch: throw PortRefusal(.noPort, "there is no port \(number); vde_vmnet port list shows the ports")
            default:
                throw PortRefusal(
                    .invalid, "port \(number), VLAN \(vlan): a VLAN is 0 for none, or 1 to 4093, and a port exists")
            }
        }
    }

    package func untaggedVLAN(of number: Int) -> Int? {
        virtualSwitch.ports[number].map { Int($0.untaggedVLAN) }
    }
}
