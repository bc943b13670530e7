// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import NetworkModel
import VmnetUplink
import Wire

/// The options of `join` that only vmnet.framework supports.
struct VmnetOptionGroup: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Use an isolated host network with this UUID, without DHCP (macOS, host mode).", valueName: "uuid"),
        transform: UUIDArgument.parse)
    var vmnetNetworkIdentifier: UUIDArgument?

    @Option(
        help: ArgumentHelp(
            "IPv6 prefix of the network behind NAT, such as fd00:1:2:3:: (macOS, shared mode).", valueName: "prefix"),
        transform: IPv6PrefixArgument.parse)
    var vmnetNat66Prefix: IPv6PrefixArgument?

    @Flag(
        help: """
            Exchange TCP segments of up to 64 KiB with vmnet; they are split on the way to guests (macOS).
            """)
    var vmnetOffload = false

    @Option(
        help: ArgumentHelp(
            """
            Interface through which guests reach the outside, such as en0 (macOS 26 and later, shared mode). \
            (default: the system's choice)
            """,
            valueName: "interface"),
        completion: Completions.interfaces)
    var vmnetExternalInterface: String?

    func note(in given: inout GivenOptions) {
        given.note(.networkIdentifier, vmnetNetworkIdentifier != nil)
        given.note(.nat66Prefix, vmnetNat66Prefix != nil)
        given.note(.offload, vmnetOffload)
        given.note(.externalInterface, vmnetExternalInterface != nil)
    }

    /// Stores them in `configuration`, whose mode, network and DHCP must be set.
    /// - Parameter vmnet: the framework; nil if the program lacks it or the user chose another uplink.
    func apply(to configuration: inout Configuration, vmnet: (any VmnetProvider)?) throws {
        guard let vmnet else { return }
        configuration.hasVmnetOffload = vmnetOffload
        configuration.networkIdentifier = vmnetNetworkIdentifier?.bytes
        configuration.nat66Prefix = vmnetNat66Prefix?.text
        configuration.externalInterface = vmnetExternalInterface
        try checkPublished(configuration.published)
        try checkNetworkObject(configuration, vmnet)
    }

    private func checkPublished(_ published: [PublishedPort]) throws {
        if let bound = published.first(where: { !$0.bind.isUnspecified }) {
            throw ValidationError(
                """
                --publish \(bound): vmnet.framework forwards a port for all addresses of the Mac; leave out \
                \(bound.bind)
                """
            )
        }
    }

    /// Checks the options that need a network object, and those that cannot be combined with one.
    private func checkNetworkObject(_ configuration: Configuration, _ vmnet: any VmnetProvider) throws {
        let option: String
        if vmnetExternalInterface != nil {
            option = "--vmnet-external-interface"
        } else if !configuration.reservations.isEmpty, configuration.dhcp == .system {
            option = "--dhcp-host with --dhcp system"
        } else {
            return
        }
        guard vmnet.hasNetworkObjects else {
            throw ValidationError(
                "\(option) needs macOS 26 or later, whose vmnet.framework has network objects; leave it out here")
        }
        if configuration.networkIdentifier != nil {
            throw ValidationError("\(option) does not go with --vmnet-network-identifier")
        }
        if configuration.interfaceID != nil {
            throw ValidationError(
                """
                \(option) does not go with --vmnet-interface-id: vmnet makes a new hardware address for every \
                interface of such a network
                """
            )
        }
        if let network = configuration.network, !network.gatewayIsFirstHost {
            throw ValidationError(
                """
                \(option) needs a gateway that is the first address of its network, here \
                \(network.network.base.advanced(by: 1)), and no --vmnet-dhcp-end
                """
            )
        }
    }
}
