// SPDX-License-Identifier: Apache-2.0
import ControlSocket
import Lifecycle
import Logging
import NetworkConfiguration
import NetworkControl
import NetworkModel
import Sessions
import Uplink
import VDEPlug
import Wire

extension Daemon {
    /// Makes the control socket of the configuration. Without a wish of the user, the network starts without one if the
    /// host has no place for it.
    func openControl() throws(ExitError) {
        guard configuration.control.place != .off else { return }
        do throws(ExitError) {
            networkControl = try NetworkControl(self, name: standardName, quota: quota)
        } catch {
            guard !configuration.control.isRequired else { throw error }
            logger.warning(
                """
                no control socket, so vde_vmnet status and the like do not reach this network: \(error); --control off \
                makes it go without
                """)
        }
    }

    /// The name of this network, unless the user gives one.
    private var standardName: NetworkName {
        let place: String? =
            switch configuration.role {
            case .server(let own): own.path
            case .client(.switchDirectory(let path, _)): path
            case .client(.pointToPoint(let path)): path
            case .client: session?.directoryPath
            }
        let gateway = uplink?.hostAddressing?.network.gateway ?? configuration.network?.gateway
        return NetworkName(derivedFrom: place ?? gateway?.description ?? "network")
    }
}
