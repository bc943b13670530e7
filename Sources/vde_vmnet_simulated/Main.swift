// SPDX-License-Identifier: Apache-2.0
import Commands
import Platform
import Uplinks
import VmnetUplink

/// vde_vmnet as it is on a Mac, on Linux: its way out is vmnet's C API, which VmnetSimulator provides.
@main
struct Main {
    static func main() { Root.run(CommandLine.arguments, vmnet: SleepingProvider()) }
}

/// A machine that has slept for as many seconds as a file says, which the environment variable VMNET_SIMULATOR_SLEEP
/// names.
struct SleepingProvider: VmnetProvider {
    private let framework = VmnetFramework()
    private let path = Accounts.environment("VMNET_SIMULATOR_SLEEP")

    func start(_ options: VmnetOptions) throws(VmnetFailure) -> any VmnetInterface { try framework.start(options) }
    func bridgeableInterfaces() -> [String] { framework.bridgeableInterfaces() }
    var hasVirtioHeaders: Bool { framework.hasVirtioHeaders }
    var hasNetworkObjects: Bool { framework.hasNetworkObjects }

    var timeAsleep: UInt64 {
        guard let path, let bytes = try? Files.read(path) else { return MonotonicClock.asleep }
        return (UInt64(String(decoding: bytes, as: UTF8.self).filter(\.isNumber)) ?? 0) * MonotonicClock.second
    }
}
