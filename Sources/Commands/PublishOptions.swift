// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import NetworkModel
import Wire

/// The options of `join` that let the outside in.
struct PublishOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "[BIND:]PORT[-END]:GUEST[:PORT][/udp]: lets others reach a guest's port at this host's. BIND is an address of this host (default: all of them, 0.0.0.0). GUEST is the guest's address (--dhcp-host fixes one), its MAC, or the host name that it sends by DHCP; both follow its lease. May be given again.",
            valueName: "ports"))
    var publish: [String] = []

    func note(in given: inout GivenOptions) {
        let parsed = publish.compactMap { try? PublishedPort(parsing: $0) }
        given.note(.publish, !publish.isEmpty)
        for one in parsed {
            switch one.followed {
            case .hardware?:
                given.note(.publishHardware, true)
                given.note(.publishHardwareUDP, one.transport == .udp)
            case .name?:
                given.note(.publishName, true)
                given.note(.publishNameUDP, one.transport == .udp)
            case nil: break
            }
        }
    }

    func makePublished(_ network: GuestNetwork?) throws -> [PublishedPort] {
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
