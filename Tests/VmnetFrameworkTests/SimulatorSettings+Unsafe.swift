// SPDX-License-Identifier: Apache-2.0
import VmnetSimulator
import Wire

enum SimulatorSettings {
    static func set(_ settings: vmnet_simulator_settings) {
        var settings = settings
        unsafe vmnet_simulator_set(&settings)
    }

    /// The forwarding rules that hold, as `tcp 8080 192.168.64.2 80`, in order.
    static var rules: [String] {
        var found = [vmnet_simulator_rule](repeating: vmnet_simulator_rule(), count: 64)
        let count = unsafe found.withUnsafeMutableBufferPointer {
            unsafe vmnet_simulator_rules($0.baseAddress, Int32($0.count))
        }
        return found.prefix(Int(count)).map {
            "\($0.protocol == 6 ? "tcp" : "udp") \($0.external_port) \(IPv4Address($0.address)) \($0.internal_port)"
        }.sorted()
    }

    /// Where the last network that was made leads out.
    static var externalInterface: String {
        var name = [CChar](repeating: 0, count: 16)
        unsafe name.withUnsafeMutableBufferPointer { unsafe vmnet_simulator_external_interface($0.baseAddress!) }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
