// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// IPv6 beside IPv4: TCP of a guest, a namespace, through the NAT of a TAP and of user mode to a server behind the
/// host's own uplink. The NAT beside a TAP carries IPv6 only, and has the IPv4 of user mode beside it.
struct IPv6Rows {
    let report: Report
    let scale: Scale

    private static let outside6 = "2001:db8::1", host6 = "2001:db8::2"
    private static let versions: [(who: String, address: String)] = [
        ("\(Report.ours), IPv4", TestNetwork.internetAddress), ("\(Report.ours), IPv6", outside6),
    ]

    func run() throws {
        report.progress("IPv6 beside IPv4")
        for (uplink, label) in [("tap", "a TAP"), ("user", "user mode")] {
            let place = try Place(uplink)
            try measure(label, [(Self.versions[0], place), (Self.versions[1], place)])
        }
        try measure(
            "user mode beside a TAP",
            [
                (Self.versions[0], Place("user")), (Self.versions[1], Place("tap", isOldKernel: true)),
            ])
    }

    /// A guest, and all that it needs.
    private struct Place {
        let guest: PlugGuest
        let kept: [Any]

        init(_ uplink: String, isOldKernel: Bool = false) throws {
            let network = try TestNetwork(), host = network.host, path = network.folder.file("vde")
            try network.internet.ip("-6", "addr", "add", outside6 + "/64", "dev", "eth0", "nodad")
            try host.ip("-6", "addr", "add", host6 + "/64", "dev", "wan", "nodad")
            try host.ip("-6", "route", "add", "default", "via", outside6)
            let server = try network.internet.start([Tool.stream, "serve", "5001"])
            try network.internet.waitForListener(on: 5001)
            let daemon = try VMNetDaemon(
                in: host, ["--switch", "--uplink", uplink, path], folder: network.folder, level: "warning",
                wrapper: isOldKernel ? try OldKernel.hidingForwarding(network.folder) : [])
            guest = try PlugGuest("bench-guest", path: path, folder: network.folder)
            try guest.waitForRouter()
            let address = try guest.address6()
            try guest.lease()
            // The script of the DHCP client has removed the address.
            try guest.namespace.ip("addr", "replace", "\(address)/64", "dev", PlugGuest.interface, "nodad")
            kept = [network, server, daemon]
        }
    }

    private func measure(_ label: String, _ ways: [(version: (who: String, address: String), place: Place)]) throws {
        for (direction, words) in [("up", "out of the guest"), ("down", "into the guest")] {
            let what = "NAT of \(label), TCP \(words), MTU 1500"
            scale.rounds {
                for (version, place) in $0 ? ways.reversed() : ways {
                    report.attempt(what, version.who) {
                        report.add(what, "Mbit/s", version.who, try rate(place.guest, direction, version.address))
                    }
                }
            }
            report.want(
                what, "Mbit/s",
                .atLeast(0.9, Self.versions[1].who, times: Self.versions[0].who))
        }
    }

    private func rate(_ guest: PlugGuest, _ direction: String, _ address: String) throws -> Double {
        let output = try guest.namespace.run(Tool.stream, direction, address, "5001", "\(scale.seconds)", "1")
        guard let value = Double(output.split(separator: "\n").first?.split(separator: " ").last ?? "") else {
            throw CommandFailed(description: output)
        }
        return value
    }
}
