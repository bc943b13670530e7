// SPDX-License-Identifier: Apache-2.0

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

/// A JSON value to print (RFC 8259). Members keep their order.
enum JSON {
    case string(String)
    case number(Double)
    case integer(Int)
    case bool(Bool)
    case null
    case array([JSON])
    case object([(String, JSON)])

    var text: String {
        switch self {
        case .string(let value): JSON.quoted(value)
        case .number(let value): value.isFinite ? String(value) : "null"
        case .integer(let value): String(value)
        case .bool(let value): value ? "true" : "false"
        case .null: "null"
        case .array(let values): "[" + values.map(\.text).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { JSON.quoted($0.0) + ":" + $0.1.text }.joined(separator: ",") + "}"
        }
    }

    private static func quoted(_ value: String) -> String {
        var text = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}
