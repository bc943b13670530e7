// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkModel
import Wire

/// The option of `join` that forwards ports of the host to guests.
struct PublishOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Forward a port of this host to a guest: [BIND:]PORT[-END]:GUEST[:PORT][/udp]. May be repeated.
            BIND: address of this host to listen on (default: all addresses of the guest's IP version)
            GUEST: the guest's address (--dhcp-host makes it permanent), its hardware address, or the host name that \
            it sends by DHCP; a hardware address or a name follows the guest's lease of IPv4
            IPv6 addresses are in brackets, GUEST in full or without the network's prefix: [::]:8080:[::10]:80
            """,
            valueName: "ports"))
    var publish: [String] = []

    func note(in given: inout GivenOptions) {
        let parsed = publish.compactMap { try? PublishedPort(parsing: $0) }
        given.note(.publish, !publish.isEmpty)
        given.note(.publish6, parsed.contains(where: \.isIPv6))
        for one in parsed {
            switch one.followed {
            case .hardware?: given.note(.publishHardware, true)
            case .name?: given.note(.publishName, true)
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
                throw ValidationError(
                    "--publish: \(one) and \(other) take the same port of this host; choose another port for one")
            }
            if let network, let reason = network.refusal(of: one) { throw ValidationError("--publish: \(reason)") }
            published.append(one)
        }
        return published
    }
}
