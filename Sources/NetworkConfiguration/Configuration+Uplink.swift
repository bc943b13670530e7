// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Sessions
import Uplink
import VmnetUplink

extension Configuration {
    /// The part of the configuration that concerns the uplink.
    package var uplinkOptions: UplinkOptions {
        var options = UplinkOptions(mode: mode)
        options.network = network
        options.interfaceID = interfaceID
        // The line of JSON for `--fd` contains the identifier.
        options.reportsInterfaceID = !listeners.descriptors.isEmpty
        options.mtu = mtu
        options.isIsolating = isIsolating
        options.published = published
        options.reservations = reservations
        options.egress = egress
        options.logsRefusals = logsRefusals
        options.isDefaultRouter = !withholdsRouter
        options.ipv6 = ipv6
        options.stateDirectory = stateDirectory
        options.tapName = tapName
        options.bridgeHelper = bridgeHelper
        return options
    }

    /// The uplink's options in vmnet's terms, as far as `provider` supports them.
    package func vmnetOptions(_ provider: any VmnetProvider) -> VmnetOptions {
        let vmnetMode: VmnetOptions.Mode =
            switch mode {
            case .shared: .shared
            case .host: .host
            case .bridged(let interface): .bridged(interface)
            }
        var options = VmnetOptions(mode: vmnetMode)
        options.network = network
        options.mtu = mtu == 1500 ? nil : mtu
        options.interfaceID = interfaceID
        options.networkID = networkIdentifier
        options.nat66Prefix = nat66Prefix
        options.isIsolated = isIsolating
        options.published = published
        options.externalInterface = externalInterface
        // This program's DHCP server has its own list.
        if dhcp == .system { options.reservations = reservations }
        // A network object belongs to one process, and its gateway is the first address of the network.
        let mayBeObject =
            provider.hasNetworkObjects && networkIdentifier == nil && interfaceID == nil
            && network.map(\.gatewayIsFirstHost) ?? true
        if case .bridged = mode {} else { options.disablesDHCP = dhcp == .off && mayBeObject }
        // Interfaces on a network object have no virtio headers.
        if hasVmnetOffload {
            options.offload = provider.hasVirtioHeaders && !options.needsNetworkObject ? .virtio : .plain
        }
        return options
    }
}
