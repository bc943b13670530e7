// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import Daemon
import NetworkModel
import Wire

extension StartReport {
    /// The names that vmnet-helper gives these facts, which the programs that start it look for.
    var json: JSON {
        var members: [(String, JSON)] = [
            ("vmnet_mac_address", .string(guest.description)),
            ("vmnet_interface_id", .string(UUIDArgument(bytes: interfaceID).text)),
        ]
        if let network {
            members += [
                ("vmnet_start_address", .string(network.gateway.description)),
                ("vmnet_end_address", .string(network.lastLease.description)),
                ("vmnet_subnet_mask", .string(network.network.mask.description)),
            ]
        }
        members += [("vmnet_mtu", .integer(mtu)), ("vmnet_max_packet_size", .integer(maximumFrame))]
        if let nat66Prefix { members.append(("vmnet_nat66_prefix", .string(nat66Prefix))) }
        members += [
            ("vmnet_read_max_packets", .integer(batches.read)), ("vmnet_write_max_packets", .integer(batches.write)),
        ]
        return .object(members)
    }
}
