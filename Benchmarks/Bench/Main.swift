// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// `make bench`: the measurements of docs/performance.md on this host, each program at its best documented
/// setting, in turn.
///
///     vde_vmnet_bench [--quick] [--output FOLDER] [GROUP...]
///
///     vde_vmnet_bench fuzz FRAMES [SEED]
///
/// Groups: frames, costs, control, names, streams, ipv6, guests, vhost, user, namespaces, datagrams, life, dhcp,
/// stalled, listeners, vmnet, micro.
@main
struct Bench {
    static func main() throws {
        var arguments = CommandLine.arguments.dropFirst()
        if arguments.first == "rounds" {
            let frames = Int(arguments.dropFirst().first ?? "") ?? 1_000_000
            return try Micro.runRounds(
                frames: frames, judging: arguments.contains("judging"), isIPv6: arguments.contains("ipv6"))
        }
        if arguments.first == "relay-shim" { try RelayShim.run(path: arguments.dropFirst().first ?? "") }
        if arguments.first == "fuzz" {
            let numbers = arguments.dropFirst().compactMap { Int($0) }
            return try FrameFuzz.run(frames: numbers.first ?? 1_000_000, seed: UInt64(numbers.dropFirst().first ?? 1))
        }
        guard TestHost.isRoot else {
            StandardOutput.writeError("Measuring makes network namespaces and needs root; type: make bench\n")
            ProcessExit.exit(77)
        }
        SignalPipe.ignore(Signal.pipe)
        let isQuick = arguments.first == "--quick"
        if isQuick { arguments.removeFirst() }
        var folder: String?
        if arguments.first == "--output" {
            folder = arguments.dropFirst().first
            arguments = arguments.dropFirst(2)
        }
        let all = [
            "frames", "costs", "control", "names", "streams", "ipv6", "guests", "vhost", "user", "namespaces",
            "datagrams", "life", "dhcp", "stalled", "listeners", "vmnet", "micro",
        ]
        if let unknown = arguments.first(where: { !all.contains($0) }) {
            StandardOutput.writeError(
                "there is no group '\(unknown)'; the groups are \(all.joined(separator: ", "))\n")
            ProcessExit.exit(64)
        }
        let groups = arguments.isEmpty ? all : Array(arguments)
        let scale = isQuick ? Scale(roundCount: 2, seconds: 0.3) : Scale(roundCount: 5, seconds: 1)
        let report = Report()
        for group in groups {
            report.attempt("the group", group) {
                switch group {
                case "frames": try FrameRows(report, scale).run()
                case "costs": try CostRows(report: report, scale: scale).run()
                case "control": try ControlRows(report: report, scale: scale).run()
                case "names": try NameRows(report: report, scale: scale).run()
                case "streams": try StreamRows(report, scale, isQuick: isQuick).run()
                case "ipv6": try IPv6Rows(report: report, scale: scale).run()
                case "guests": if !isQuick || !arguments.isEmpty { try GuestRows(report: report, scale: scale).run() }
                case "vhost": if !isQuick || !arguments.isEmpty { try VhostRows(report: report, scale: scale).run() }
                case "user": if !isQuick || !arguments.isEmpty { try UserRows(report: report, scale: scale).run() }
                case "namespaces":
                    if !isQuick || !arguments.isEmpty { try NamespaceRows(report: report, scale: scale).run() }
                case "datagrams":
                    if !isQuick || !arguments.isEmpty { try DatagramRows(report: report, scale: scale).run() }
                case "life": try LifeRows(report: report, scale: scale).run()
                case "dhcp": try DHCPRows(report: report, scale: scale).run()
                case "stalled": try Stalled.measure(report, scale, isQuick: isQuick)
                case "listeners": try ListenerRates.measure(report, scale, isQuick: isQuick)
                case "vmnet": try VmnetShim.measure(report, scale)
                case "micro": try Micro.measure(report)
                default: preconditionFailure("\(group) is no group")
                }
            }
        }
        for (name, value) in report.host.lines { StandardOutput.writeIfPossible("\(name): \(value)\n") }
        StandardOutput.writeIfPossible("\n" + report.table + "\n")
        if let folder { try report.write(to: folder) }
    }
}
