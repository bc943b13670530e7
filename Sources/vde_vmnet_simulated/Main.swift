// SPDX-License-Identifier: Apache-2.0
import Commands
import Platform
import Timing
import Uplink
import VmnetFramework
import VmnetUplink

/// vde_vmnet as on a Mac, on Linux: its uplink uses vmnet's C API, which VmnetSimulator provides.
@main
struct Main {
    static func main() { Root.run(CommandLine.arguments, vmnet: SleepingProvider()) }
}

/// A host that has slept for as many seconds as a file contains, which the environment variable VMNET_SIMULATOR_SLEEP
/// names.
struct SleepingProvider: VmnetProvider {
    private let framework = VmnetFramework()
    private let path = CurrentProcess.environment("VMNET_SIMULATOR_SLEEP")

    func start(_ options: VmnetOptions) throws(VmnetError) -> any VmnetInterface { try framework.start(options) }
    func bridgeableInterfaces() -> [String] { framework.bridgeableInterfaces() }
    var isServiceRegistered: Bool { framework.isServiceRegistered }
    var hasVirtioHeaders: Bool { framework.hasVirtioHeaders }
    var hasNetworkObjects: Bool { framework.hasNetworkObjects }

    var timeAsleep: TimeAmount {
        guard let path, let bytes = try? Files.read(path) else { return BootClock.asleep }
        return .seconds(Int64(String(decoding: bytes, as: UTF8.self).filter(\.isNumber)) ?? 0)
    }
}
