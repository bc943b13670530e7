// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// TCP of a namespace in user mode, beside slirp4netns and pasta: streams each way at two MTUs, and connections.
struct NamespaceRows {
    let report: Report
    let scale: Scale

    private struct Peer {
        let who: String
        let guest: Namespace
        let kept: [Any]
    }

    private static let slirp = "slirp4netns", passt = "passt"
    private static let target = TestNetwork.internetAddress, port = "5001"

    func run() throws {
        report.progress("a namespace in user mode")
        for mtu in [1500, 65_520] {
            let peers = peers(mtu)
            for (direction, label) in [("up", "out of"), ("down", "into")] {
                let what = "TCP \(label) a namespace in user mode, MTU \(mtu)"
                measure(what, "Mbit/s", peers, [direction, "\(2 * scale.seconds)", "1"])
                let limit = mtu == 1500 ? 4.0 : 1.1
                report.want(
                    what, "Mbit/s", .atLeast(limit, times: Self.slirp), .atLeast(limit, times: Self.passt))
            }
            guard mtu == 1500 else { continue }
            let what = "TCP of a namespace in user mode, one connection after the other"
            measure(what, "connections a second", peers, ["connect", "\(2 * scale.seconds)", "1"])
            report.want(what, "connections a second", .atLeast(1, times: Self.passt))
        }
    }

    private func peers(_ mtu: Int) -> [Peer] {
        var peers: [Peer] = []
        let makers: [(String, (TestNetwork) throws -> (guest: Namespace, program: Any)?)] = [
            (
                Report.ours,
                {
                    let own = try NamespaceGuests($0, mtu: mtu)
                    return (own.guests[0], own)
                }
            ),
            (Self.slirp, { try NamespaceGuests.slirp4netns($0, mtu: mtu, report).map { ($0.guest, $0.program) } }),
            (Self.passt, { try NamespaceGuests.pasta($0, mtu: mtu, report).map { ($0.guest, $0.program) } }),
        ]
        for (who, make) in makers {
            report.attempt("a namespace in user mode, MTU \(mtu)", who) {
                let network = try TestNetwork()
                try Files.setMode(network.folder.path, 0o777)
                // As in the rows of QEMU guests.
                try network.host.run("sysctl", "-q", "-w", "net.ipv4.tcp_max_tw_buckets=1000")
                let server = try network.internet.start([Tool.stream, "serve", Self.port])
                try network.internet.waitForListener(on: 5001)
                guard let (guest, program) = try make(network) else { return }
                peers.append(Peer(who: who, guest: guest, kept: [network, server, program]))
            }
        }
        return peers
    }

    /// - Parameter words: of the tool `stream`, without the server's.
    private func measure(_ what: String, _ unit: String, _ peers: [Peer], _ words: [String]) {
        scale.rounds {
            for peer in $0 ? peers.reversed() : peers {
                report.attempt(what, peer.who) {
                    let client = try peer.guest.start(
                        [Tool.stream, words[0], Self.target, Self.port] + words.dropFirst())
                    try client.waitForEnd(within: 60)
                    try eventually("the result of a stream") { client.output.contains("\n") }
                    guard let last = client.output.split(whereSeparator: \.isWhitespace).last, let rate = Double(last)
                    else { throw CommandFailed(description: client.output) }
                    report.add(what, unit, peer.who, rate)
                }
            }
        }
    }
}
