// SPDX-License-Identifier: Apache-2.0
import Commands

#if canImport(Darwin)
    import VmnetFramework
#endif

@main
struct Main {
    static func main() {
        #if canImport(Darwin)
            Root.run(CommandLine.arguments, vmnet: VmnetFramework())
        #else
            Root.run(CommandLine.arguments)
        #endif
    }
}
