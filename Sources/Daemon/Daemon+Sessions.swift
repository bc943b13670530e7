// SPDX-License-Identifier: Apache-2.0
import FrameIO
import HostChanges
import Lifecycle
import Logging
import NetworkConfiguration
import Platform
import Sessions
import Uplink
import VDEPlug
import Wire

extension Daemon {
    /// Makes the guests' side: a switch of this process, or a connection to another one.
    func makeSession() -> any NetworkSession {
        let locator: VirtualNetworkLocator
        switch configuration.role {
        case .server(let own):
            let neighbours =
                [configuration.pidfile].compactMap(\.self) + configuration.listeners.paths
            let session = SwitchSession(
                own, neighbours: neighbours, quota: quota, loop: loop, control: control, logger: logger)
            // Guests of --netns and --fd get their ports before the uplink does.
            session.allowServers(at: configuration.servingPorts)
            return session
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

    /// Reserves the guests of a switch that this process has joined. Two servers would give them addresses of different
    /// networks; the search for other servers finds one that is starting only after some seconds.
    /// - Returns: nil if this process gives no addresses there, or the host has no place for the record: then the
    ///   search decides alone, as for an instance of another user.
    /// - Throws: `alreadyRunning` if another instance of this user serves them.
    func reserveJoinedSwitch(_ session: any NetworkSession) throws(ExitError) -> HostChanges? {
        guard let directory = session.joinedDirectory, configuration.dhcp == .auto || configuration.dhcp == .builtin,
            configuration.uplink != .none
        else { return nil }
        if case .bridged = configuration.mode { return nil }
        // A name of a file, which no other path has.
        let name = "joined" + directory.replacing(text: "%", with: "%%").replacing(text: "/", with: "%s")
        let reservation: HostChanges.Reservation
        do throws(ExitError) {
            reservation = try HostChanges.reserve(name, in: StateDirectories.runtime(), logger: logger)
        } catch {
            guard error.status == .cannotCreate else { throw error }
            logger.debug("no record that \(directory) is served: \(error)")
            return nil
        }
        switch reservation {
        case .reserved(let changes): return changes
        case .taken(let process):
            throw ExitError(
                .alreadyRunning,
                """
                another vde_vmnet\(process > 0 ? " (process \(process))" : "") serves the guests of the switch at \
                \(directory); stop it first, or give --dhcp off for a second network without addresses on this switch
                """)
        }
    }
}
