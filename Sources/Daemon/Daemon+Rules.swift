// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NetworkConfiguration
import NetworkControl
import NetworkReports
import Sessions
import Switching
import Wire

extension Daemon {
    func setRules(_ rules: GuestRules) {
        control.setRules(rules)
        configuration.logServers(in: rules, logger)
    }

    /// Logs a violation of the rules.
    func report(_ event: PortEvent) {
        switch event {
        case .firstFrame(let port):
            guestReports.forget(port)
        case .offence(let port, let offence, let hardware):
            let ownsSwitch = session?.ownsSwitch ?? false
            // On another process's switch, another DHCP server may be legitimate.
            if offence == .dhcp, !ownsSwitch, dhcpServer?.isServing != true { return }
            let number = ownsSwitch ? session?.number(of: port) ?? 0 : nil
            networkControl?.report(offence, by: hardware, at: port)
            guestReports.log(
                hardware, at: port, GuestReports.Location(name: name(of: port), number: number), offence)
        default:
            break
        }
    }
}
