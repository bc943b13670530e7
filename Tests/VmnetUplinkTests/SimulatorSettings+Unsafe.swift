// SPDX-License-Identifier: Apache-2.0
import VmnetSimulator

enum SimulatorSettings {
    static func set(_ settings: vmnet_simulator_settings) {
        var settings = settings
        unsafe vmnet_simulator_set(&settings)
    }
}
