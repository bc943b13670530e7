// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Logging
import Platform
import VDEPlug

extension Daemon {
    /// The guests' side: our own switch, or a connection to another.
    func makeSession() -> any NetworkSession {
        let locator: PlugLocator
        switch configuration.side {
        case .serve(let own):
            let neighbours =
                [configuration.pidfile].compactMap(\.self) + configuration.listeners.streams
                + configuration.listeners.datagrams
            return SwitchSession(
                own, neighbours: neighbours, quota: quota, loop: loop, control: control, logger: logger)
        case .join(let there): locator = there
        }
        // vde_switch cuts a frame at 1,518 bytes (its receive buffer), and what is longer would arrive broken; other
        // switches may not.
        if configuration.mtu > 1500 {
            logger.warning(
                "vde_switch cuts frames at 1518 bytes: an MTU of \(configuration.mtu) needs a switch that does not, such as: vde_vmnet --switch"
            )
        }
        let frameLimit = FrameLimits.link(mtu: configuration.mtu)
        let options = PlugOptions(
            group: configuration.vdeGroup,
            description: "vde_vmnet user=\(Accounts.userName(Accounts.effectiveUser)) pid=\(Accounts.processID)")
        func plug(_ candidates: [String], _ port: Int) -> PlugSession {
            PlugSession(
                candidates: candidates, port: port, options: options, maximumFrame: frameLimit, loop: loop,
                control: control, logger: logger)
        }
        switch locator {
        case .switchDirectory(let path, let port): return plug([path], port)
        case .defaultSwitch(let candidates, let port): return plug(candidates, port)
        case .pointToPoint(let path):
            return CableSession(
                path: path, group: configuration.vdeGroup, maximumFrame: frameLimit, loop: loop, control: control,
                logger: logger)
        }
    }
}
