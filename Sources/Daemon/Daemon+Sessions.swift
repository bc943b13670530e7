// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Logging
import Platform
import Sessions
import VDEPlug

extension Daemon {
    /// Makes the guests' side: a switch of this process, or a connection to another one.
    func makeSession() -> any NetworkSession {
        let locator: VirtualNetworkLocator
        switch configuration.role {
        case .server(let own):
            let neighbours =
                [configuration.pidfile].compactMap(\.self) + configuration.listeners.paths
            return SwitchSession(
                own, neighbours: neighbours, quota: quota, loop: loop, control: control, logger: logger)
        case .client(let other): locator = other
        }
        // vde_switch truncates frames to 1,518 bytes, the size of its receive buffer. Other switches may not.
        if configuration.mtu > 1500 {
            logger.warning(
                """
                vde_switch truncates frames to 1518 bytes: an MTU of \(configuration.mtu) needs a switch that does \
                not, such as: vde_vmnet --switch
                """
            )
        }
        let frameLimit = FrameLimits.link(mtu: configuration.mtu)
        let options = PlugOptions(
            group: configuration.vdeGroup,
            description:
                "vde_vmnet user=\(UserDatabase.userName(CurrentProcess.effectiveUser)) pid=\(CurrentProcess.identifier)"
        )
        func plug(_ candidates: [String], _ port: Int) -> PlugSession {
            PlugSession(
                candidates: candidates, port: port, options: options, maximumFrame: frameLimit, loop: loop,
                control: control, logger: logger)
        }
        switch locator {
        case .switchDirectory(let path, let port): return plug([path], port)
        case .defaultSwitch(let candidates, let port): return plug(candidates, port)
        case .pointToPoint(let path):
            return PointToPointSession(
                path: path, group: configuration.vdeGroup, maximumFrame: frameLimit, loop: loop, control: control,
                logger: logger)
        }
    }
}
