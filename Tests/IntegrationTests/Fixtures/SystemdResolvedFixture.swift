// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// A host with systemd-resolved, a message bus and separate mounts. It has the Internet's name server on one link,
/// and a VPN with the name server of `corp.example` on another.
///
/// The Internet has `corp.example` too, by other addresses.
final class SystemdResolvedFixture {
    /// What /etc/resolv.conf of the host leads to (systemd-resolved.service(8)).
    enum ResolvConf: String, CaseIterable, CustomTestStringConvertible {
        /// systemd-resolved's own server.
        case stub = "stub-resolv.conf"
        /// The servers of all links.
        case list = "resolv.conf"

        var testDescription: String { rawValue }
    }

    static let inside = "10.8.0.1", wrong = "203.0.113.66", corporate = "git.corp.example"
    private static let vpnHost = "10.8.0.2"

    /// Where the files of the package systemd-resolved are: installed, or unpacked by `ci/install-packages`, because an
    /// installation would take over the name resolution of the system.
    static let root: String? = ["", TestHost.packageRoot + "/.build/packages/systemd-resolved"].first {
        Files.isExecutable($0 + "/lib/systemd/systemd-resolved") && Files.isExecutable($0 + "/usr/bin/resolvectl")
    }

    /// Makes the host's own /run and /etc, and starts the message bus and systemd-resolved.
    private static let script = """
        set -e
        root=$1 link=$2
        mount -t tmpfs none /run
        mkdir -p /run/dbus /run/systemd/resolve /run/systemd/netif/links /run/etc
        cp -a /etc/. /run/etc/
        mount --bind /run/etc /etc
        grep -q '^systemd-resolve:' /etc/passwd || {
            echo 'systemd-resolve:x:990:990::/:/usr/sbin/nologin' >>/etc/passwd
            echo 'systemd-resolve:x:990:' >>/etc/group
        }
        mkdir -p /etc/systemd
        printf '[Resolve]\\nLLMNR=no\\nMulticastDNS=no\\nCache=no\\n%b' "$3" >/etc/systemd/resolved.conf
        chown systemd-resolve: /run/systemd/resolve
        ln -sf "../run/systemd/resolve/$link" /etc/resolv.conf
        cat >/run/dbus/system.conf <<'END'
        <busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
        <policy context="default"><allow user="*"/><allow own="*"/><allow eavesdrop="true"/>
        <allow send_destination="*" eavesdrop="true"/></policy></busconfig>
        END
        dbus-daemon --config-file=/run/dbus/system.conf --fork --nopidfile --print-address
        exec "$root/lib/systemd/systemd-resolved"
        """

    let network: TestNetwork
    let vpn: Namespace
    private let resolved: BackgroundProgram
    private var servers: [BackgroundProgram] = []

    /// - Parameters:
    ///   - settings: further lines of resolved.conf.
    init(_ file: ResolvConf, settings: String = "") throws {
        network = try TestNetwork()
        vpn = try Namespace("vpn")
        let host = network.host, name = SystemdResolvedFixture.self
        try host.connect(to: vpn, by: "tun0", name.vpnHost + "/24", name.inside + "/24")
        let script = ["sh", "-c", name.script, "sh", name.root ?? "", file.rawValue, settings]
        resolved = try host.start(["unshare", "--mount", "--propagation", "private"] + script)
        let words = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root"]
        for (namespace, addresses) in [
            (network.internet, [TestNetwork.internetName: TestNetwork.internetAddress, "corp.example": name.wrong]),
            (vpn, ["corp.example": name.inside]),
        ] {
            let known = addresses.map { "--address=/\($0.key)/\($0.value)" }
            servers.append(
                try namespace.start(words + ["--bind-interfaces", "--interface=eth0"] + known))
            try namespace.waitForListener(on: 53)
        }
        try eventually("systemd-resolved; it has printed: \(resolved.output)", within: 20) {
            try attempt("resolvectl", "status").succeeded
        }
        try run("resolvectl", "dns", "wan", TestNetwork.internetAddress)
        try run("resolvectl", "domain", "wan", "~.")
    }

    /// The VPN's client sets the name server of its link.
    func connectVPN() throws {
        try run("resolvectl", "dns", "tun0", SystemdResolvedFixture.inside)
        try run("resolvectl", "domain", "tun0", "~corp.example")
        try run("resolvectl", "default-route", "tun0", "no")
    }

    /// The words before a command so that it runs on the host.
    private var prefix: [String] {
        let root = SystemdResolvedFixture.root ?? ""
        let path = "PATH=\(root)/usr/bin:\(CurrentProcess.environment("PATH") ?? "/usr/sbin:/usr/bin:/sbin:/bin")"
        return ["nsenter", "--target", "\(resolved.identifier)", "--mount", "--net", "--", "env", path]
    }

    func attempt(_ arguments: String...) throws -> ChildProcess.Output { try ChildProcess.run(prefix + arguments) }

    @discardableResult
    func run(_ arguments: String...) throws -> String { try run(arguments) }

    @discardableResult
    func run(_ arguments: [String]) throws -> String {
        let result = try ChildProcess.run(prefix + arguments)
        guard result.succeeded else {
            throw CommandFailed(description: "\(arguments): \(result.output)\(result.error)\n\(resolved.output)")
        }
        return result.output
    }

    /// Starts our switch with one of the uplinks on the host.
    func startDaemon(_ uplink: NameServiceFixture.Uplink, _ options: [String] = []) throws -> BackgroundProgram {
        let daemon = try BackgroundProgram(
            prefix + [
                TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), "--switch", path,
                "--uplink", uplink.rawValue,
            ] + options, name: "vde_vmnet")
        try daemon.wait(for: "vde_vmnet: ready: ", within: 20)
        return daemon
    }

    /// Starts `events --json` on the host.
    func startEvents(_ socket: String) throws -> BackgroundProgram {
        try BackgroundProgram(
            prefix + [TestHost.product("vde_vmnet"), "events", socket, "--json", "--only", "join,host"], name: "events")
    }

    var path: String { network.folder.file("vde") }

    /// The host's address of a name, as its programs find it; empty for none.
    func resolve(_ name: String) throws -> String {
        String(try attempt("getent", "ahostsv4", name).output.prefix { $0 != " " })
    }

    /// A guest's address of a name; empty for none.
    func resolve(_ name: String, from guest: PlugGuest) throws -> String {
        try guest.namespace.run(
            "dig", "+short", "+time=5", "+tries=1", "@\(IntegrationTests.gateway)", name, "A"
        ).trimmed
    }
}
