// SPDX-License-Identifier: Apache-2.0
import Commands
import VmnetUplink

/// vde_vmnet as it is on a Mac, on Linux: its way out is vmnet's C API, which VmnetSimulator provides.
@main
struct Main {
    static func main() { Root.run(CommandLine.arguments, vmnet: VmnetFramework()) }
}
