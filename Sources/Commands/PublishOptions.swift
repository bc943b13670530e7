// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Uplinks
import Wire

/// The options of `join` that let the outside in.
struct PublishOptions: ParsableArguments {
    @Option(help: ArgumentHelp(
        "[BIND:]PORT[-END]:GUEST[:PORT][/udp]: lets others reach a guest's port at this host's. GUEST is its address; see --dhcp-host for fixed ones. May be given again.", valueName: "ports"))
    var publish: [String] = []

    /// What they ask for, as far as it can be done in this mode and by this uplink.
    func makePublished(_ uplink: Configuration.UplinkKind, _ mode: Configuration.Mode, _ network: GuestNetwork?) throws -> [PublishedPort] {
        guard !publish.isEmpty else { return [] }
        if uplink == .none { throw ValidationError("--publish does not go with --uplink none, which leads nowhere") }
        switch mode {
        case .shared: break
        case .host: throw ValidationError("--publish does not go with --vmnet-mode host, which keeps the outside out; use shared")
        case .bridged: throw ValidationError("--publish does not go with --vmnet-mode bridged: guests have addresses of the bridged network, where others reach them as they are")
        }
        var published: [PublishedPort] = []
        for text in publish {
            let one: PublishedPort
            do throws(PublishedPort.Refusal) {
                one = try PublishedPort(parsing: text)
            } catch {
                throw ValidationError("--publish: \(error)")
            }
            if let other = published.first(where: { $0.overlaps(one) }) {
                throw ValidationError("--publish: \(one) and \(other) take the same port of this host")
            }
            if let network, let reason = network.refusal(of: one) { throw ValidationError("--publish: \(reason)") }
            published.append(one)
        }
        return published
    }
}
