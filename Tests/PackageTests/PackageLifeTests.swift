// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// What `make prove-deb` has prepared.
private enum Prepared {
    static let debian = CurrentProcess.environment("VDE_VMNET_DEBIAN")
    static let packages = CurrentProcess.environment("VDE_VMNET_PACKAGES")
    static let isComplete = debian != nil && packages != nil
}

/// The Debian package in a clean Debian: `make prove-deb` builds both, and names their folders in the environment.
@Suite(.serialized, .enabled(if: Prepared.isComplete, "make prove-deb runs it"))
struct PackageLife {
    private static func container() throws -> DebianContainer {
        try DebianContainer(folder: Prepared.debian!, packages: Prepared.packages!)
    }

    /// Installs the newest package with this revision.
    @discardableResult
    private func install(_ revision: Int, in debian: DebianContainer) throws -> String {
        try debian.shell("dpkg --install /packages/vde-vmnet_*-\(revision)_*.deb 2>&1")
    }

    private func check(
        _ vde: String, _ debian: DebianContainer, user: String? = nil, _ location: SourceLocation = #_sourceLocation
    ) throws {
        let result = try debian.attempt("vde_vmnet", "check", vde, user: user)
        #expect(
            result.succeeded && result.output.contains("ok      lease"), "\(result.output)\(result.error)",
            sourceLocation: location)
    }

    private func process(of unit: String, _ debian: DebianContainer) throws -> String {
        try debian.run("systemctl", "show", "--property=MainPID", "--value", unit).trimmed
    }

    /// A user that may connect to networks, and one that may not.
    private func makeUsers(_ debian: DebianContainer) throws {
        try debian.shell(
            """
            useradd --create-home --groups vde_vmnet member
            useradd --create-home stranger
            """)
    }

    @Test func networksSurviveUpgradeAndEndAtRemoval() throws {
        let debian = try PackageLife.container()
        let before = try debian.inventory()
        try install(1, in: debian)
        try makeUsers(debian)

        // By systemd, with the example of the package.
        try debian.shell(
            """
            cp /usr/share/doc/vde-vmnet/examples/lab.conf /etc/vde_vmnet/lab.conf
            printf '%s\\n' '--idle-exit 1' >/etc/vde_vmnet/demand.conf
            systemctl enable --now vde_vmnet@lab.service vde_vmnet@demand.socket
            """)
        try check("/run/vde/lab", debian, user: "member")
        let stranger = try debian.attempt("vde_vmnet", "check", "/run/vde/lab", user: "stranger")
        let replacing = try debian.attempt("mv", "/run/vde/lab/ctl", "/run/vde/lab/old", user: "member")
        #expect(replacing.error.contains("not permitted"), "\(replacing.error)")
        #expect(!stranger.succeeded && stranger.output.contains("failed  join"), "\(stranger.output)")
        #expect(try debian.shell("nft list tables").contains("vde_vmnet_vmnet0"))
        let own = try debian.start("vde_vmnet", "--switch", "/tmp/old", user: "stranger")
        try own.wait(for: "vde_vmnet: ready: ")

        // The upgrade leaves them running, and reports them.
        let old = try process(of: "vde_vmnet@lab.service", debian)
        let output = try install(2, in: debian)
        #expect(output.contains("vde_vmnet@lab.service (process \(old))"), "\(output)")
        let number = try debian.run("pgrep", "--uid", "stranger", "--exact", "vde_vmnet").trimmed
        #expect(output.contains("process \(number) of stranger"), "\(output)")
        #expect(output.contains("systemctl restart vde_vmnet@lab.service\n"), "\(output)")
        try debian.run("pkill", "--uid", "stranger", "--exact", "vde_vmnet")
        _ = try own.waitForEnd(within: 20)
        try debian.shell("rm -rf /tmp/vde_vmnet-*")
        #expect(try process(of: "vde_vmnet@lab.service", debian) == old)
        try check("/run/vde/lab", debian, user: "member")
        // Users' control sockets stay within reach.
        #expect(try debian.run("stat", "-c", "%a", "/run/vde_vmnet").trimmed == "755")
        try debian.run("systemctl", "restart", "vde_vmnet@lab.service")
        #expect(try process(of: "vde_vmnet@lab.service", debian) != old)
        try check("/run/vde/lab", debian, user: "member")

        // A mode that the administrator has set stays, at each boot and upgrade.
        try debian.shell("chmod 750 /etc/vde_vmnet && systemd-tmpfiles --create vde_vmnet.conf")
        #expect(try debian.run("stat", "-c", "%a", "/etc/vde_vmnet").trimmed == "750")

        // The removal ends it, and keeps the configuration.
        try debian.run("dpkg", "--remove", "vde-vmnet")
        #expect(try debian.attempt("pidof", "vde_vmnet").output.isEmpty)
        #expect(try debian.shell("nft list tables").isEmpty)
        #expect(try debian.shell("ls /etc/vde_vmnet").contains("lab.conf"))
        #expect(try debian.attempt("test", "-e", "/usr/bin/vde_vmnet").termination == .exited(1))

        // The purge leaves nothing of the package, and all of others: here a directory that was empty before.
        try debian.shell("mkdir /etc/systemd/system/empty.target.wants")
        let purge = try debian.run("dpkg", "--purge", "vde-vmnet")
        try debian.shell("rmdir /etc/systemd/system/empty.target.wants")
        let after = try debian.inventory()
        let users: Set = ["user member", "user stranger", "group member", "group stranger"]
        let left = after.subtracting(before).subtracting(users).filter { !$0.contains("/mail/") }
        #expect(left.isEmpty, "left behind: \(left.sorted()) \(purge)")
        #expect(before.subtracting(after).isEmpty, "taken away: \(before.subtracting(after).sorted())")
        #expect(try debian.run("dpkg", "--list").contains("vde-vmnet") == false)
    }

    /// A network of another installation, such as one below /usr/local, keeps its sockets, records and leases.
    @Test func purgeLeavesNetworkOfOtherInstallation() throws {
        let debian = try PackageLife.container()
        try install(1, in: debian)
        try debian.shell("cp /usr/bin/vde_vmnet /usr/local/bin/")
        let other = try debian.start("/usr/local/bin/vde_vmnet", "--switch", "/run/vde/other", "--name", "other")
        try other.wait(for: "vde_vmnet: ready: ")
        let purge = try debian.run("dpkg", "--purge", "vde-vmnet")
        #expect(purge.contains("stay, because a network still runs"), "\(purge)")
        try check("/run/vde/other", debian)
        #expect(try debian.run("/usr/local/bin/vde_vmnet", "list").contains("other"))
        try debian.run("pkill", "--exact", "vde_vmnet")
        #expect(try other.waitForEnd(within: 20) == .exited(0))
        #expect(try debian.shell("nft list tables").isEmpty)
        try debian.shell("rm -r /run/vde /run/vde_vmnet /var/lib/vde_vmnet /usr/local/bin/vde_vmnet")
    }

    @Test func plainUserHasNetworks() throws {
        let debian = try PackageLife.container()
        try install(1, in: debian)
        try makeUsers(debian)

        // Started by hand, without privilege.
        let own = try debian.start("vde_vmnet", "--switch", "/tmp/own", user: "stranger")
        try own.wait(for: "vde_vmnet: ready: ")
        try check("/tmp/own", debian, user: "stranger")
        own.signal(Signal.interrupt)

        // By the user's service manager.
        try debian.run("loginctl", "enable-linger", "stranger")
        try eventually("the user's service manager", within: 30) {
            try debian.attempt("systemctl", "--user", "is-system-running", user: "stranger").output.trimmed == "running"
        }
        try debian.run(
            "sh", "-ec",
            """
            mkdir -p .config/vde_vmnet
            printf '%s\\n' --switch "$XDG_RUNTIME_DIR/home" >.config/vde_vmnet/home.conf
            systemctl --user start vde_vmnet@home.service
            vde_vmnet check "$XDG_RUNTIME_DIR/home"
            systemctl --user stop vde_vmnet@home.service
            """, user: "stranger")
    }

    /// The example for sudoers: two command lines without a password, and nothing else.
    @Test func sudoStartsNamedNetworksOnly() throws {
        let debian = try PackageLife.container()
        try install(1, in: debian)
        try makeUsers(debian)
        try debian.shell(
            """
            install -m 440 /usr/share/doc/vde-vmnet/examples/sudoers /etc/sudoers.d/vde_vmnet
            visudo --check --quiet
            """)
        let network = try debian.start("sudo", "-n", "vde_vmnet", "--switch", "/tmp/vde", user: "member")
        try network.wait(for: "vde_vmnet: ready: ")
        try check("/tmp/vde", debian, user: "member")
        #expect(try debian.run("stat", "-c", "%U", "/tmp/vde").trimmed == "member")
        #expect(try debian.run("ip", "link", "show").contains("vmnet0"))
        for words in [
            ["--switch", "/tmp/other"], ["--switch", "/tmp/vde", "--pidfile", "/etc/x"], ["--config", "/x"],
        ] {
            let result = try debian.attempt(
                "sh", "-c", "exec sudo -n vde_vmnet \(words.joined(separator: " "))", user: "member")
            #expect(!result.succeeded && result.error.contains("password is required"), "\(words): \(result.error)")
        }
        let other = try debian.attempt("sudo", "-n", "vde_vmnet", "--switch", "/tmp/vde", user: "stranger")
        #expect(!other.succeeded && other.error.contains("password is required"))
        try debian.run("pkill", "--exact", "--uid", "root", "vde_vmnet")
        #expect(try network.waitForEnd(within: 20) == .exited(0))
    }

    /// The socket is there before the network, whose first guest starts it; it ends when it is idle.
    @Test func firstGuestStartsNetwork() throws {
        let debian = try PackageLife.container()
        try install(1, in: debian)
        try makeUsers(debian)
        try debian.shell(
            """
            printf '%s\\n' '--idle-exit 1' '--dhcp builtin' >/etc/vde_vmnet/demand.conf
            systemctl start vde_vmnet@demand.socket
            """)
        #expect(try debian.run("stat", "-c", "%U %G %a", "/run/vde/demand.sock").trimmed == "root vde_vmnet 660")
        #expect(try debian.attempt("systemctl", "is-active", "vde_vmnet@demand").output.trimmed == "inactive")
        for _ in 0..<2 {
            let guest = try debian.start(
                "vde_vmnet", "client", "/run/vde/demand.sock", "sleep", "600", user: "member")
            try eventually("the start of the network", within: 30) {
                try debian.attempt("systemctl", "is-active", "vde_vmnet@demand").output.trimmed == "active"
            }
            guest.kill()
            try eventually("the end of the idle network", within: 30) {
                try debian.attempt("systemctl", "is-active", "vde_vmnet@demand").output.trimmed == "inactive"
            }
        }
        #expect(try debian.attempt("systemctl", "is-failed", "vde_vmnet@demand").output.trimmed != "failed")
    }

    /// The system's unit confines the program, and a wrong options file is not tried again and again.
    @Test func unitRefusesWhatItDoesNotNeed() throws {
        let debian = try PackageLife.container()
        try install(1, in: debian)
        try debian.shell(
            """
            printf '%s\\n' --switch /home/net >/etc/vde_vmnet/home.conf
            printf '%s\\n' --switch /run/vde/unit '--pidfile /run/systemd/system/other.service' \
                >/etc/vde_vmnet/unit.conf
            printf '%s\\n' --switch /run/vde/device '--pidfile /dev/shm/pid' >/etc/vde_vmnet/device.conf
            printf '%s\\n' --switch /run/vde/lab >/etc/vde_vmnet/lab.conf
            """)
        for name in ["home", "unit", "device"] {
            #expect(!(try debian.attempt("systemctl", "start", "vde_vmnet@\(name).service").succeeded), "\(name)")
        }
        #expect(try debian.shell("ls /run/systemd/system /dev/shm").contains("other.service") == false)
        // What it may write to: one mount for each place. Below /run/host are the container's own mounts.
        try debian.run("systemctl", "start", "vde_vmnet@lab.service")
        let mounts = try debian.run("cat", "/proc/\(process(of: "vde_vmnet@lab.service", debian))/mountinfo")
        let writable = mounts.split(separator: "\n").map { $0.split(separator: " ") }
            .filter { $0[5].split(separator: ",").contains("rw") }.map { String($0[4]) }
            .filter { !$0.hasPrefix("/run/host/") }
        #expect(
            writable.sorted() == ["/proc", "/proc/sys/net", "/run/vde", "/run/vde_vmnet", "/var/lib/vde_vmnet"])
        try debian.shell("printf '%s\\n' '--vmnet-mode nat' >/etc/vde_vmnet/wrong.conf")
        #expect(!(try debian.attempt("systemctl", "start", "vde_vmnet@wrong.service").succeeded))
        #expect(
            try debian.run("systemctl", "show", "--property=NRestarts,Result", "vde_vmnet@wrong.service")
                .contains("NRestarts=0"))
        let journal = try debian.run("journalctl", "--unit=vde_vmnet@wrong", "--no-pager")
        #expect(journal.contains("/etc/vde_vmnet/wrong.conf, line 1: --vmnet-mode nat"), "\(journal)")
        // Nor is what ends at once by itself, or names a place that does not exist.
        for (name, line) in [("help", "--help"), ("version", "--version"), ("quoted", "--pidfile \"/run/vde/x\"")] {
            try debian.shell(
                "printf '%s\\n' '--uplink none' --switch /run/vde/x '\(line)' >/etc/vde_vmnet/\(name).conf")
            #expect(!(try debian.attempt("systemctl", "start", "vde_vmnet@\(name).service").succeeded))
            #expect(
                try debian.run("systemctl", "show", "--property=ActiveState,NRestarts", "vde_vmnet@\(name).service")
                    .split(separator: "\n").sorted() == ["ActiveState=failed", "NRestarts=0"], "\(name)")
        }
        let score = try debian.run("systemd-analyze", "security", "--no-pager", "vde_vmnet@wrong.service")
        let level = try #require(score.firstRange(of: "wrong.service: "))
        let number = score[level.upperBound...].split(separator: " ").first.flatMap { Double($0) }
        #expect(try #require(number) < 4, "\(score)")
    }

    /// Under the confinement of the system's unit, each uplink, mode and listener works.
    @Test func confinedUnitServesEveryKindOfNetwork() throws {
        let debian = try PackageLife.container()
        try install(1, in: debian)
        try debian.shell(
            """
            ip link add br0 type bridge
            ip link add nic0 type veth peer name nic1
            for interface in br0 nic0 nic1; do ip link set $interface up; done
            """)
        let networks = [
            "tap": [
                "--stream /run/vde/tap.sock", "--dgram /run/vde/tap.dgram", "--mgmt /run/vde/tap.mgmt",
                "--pidfile /run/vde/tap.pid", "--publish 80:192.168.105.2:80", "--egress deny", "--workers 2",
                "--vmnet-gateway 192.168.105.1",
            ],
            "user": ["--uplink user", "--publish 81:192.168.106.2:80", "--vmnet-gateway 192.168.106.1"],
            "host": ["--vmnet-mode host", "--vmnet-gateway 192.168.107.1"],
            "bridge": ["--vmnet-mode bridged", "--vmnet-interface br0"],
            "nic": ["--vmnet-mode bridged", "--vmnet-interface nic0"],
            "none": ["--uplink none"],
        ]
        for (name, options) in networks.sorted(by: { $0.key < $1.key }) {
            let lines = ["--switch", "/run/vde/\(name)"] + options
            try debian.shell(
                "printf '%s\\n' \(lines.map { "'\($0)'" }.joined(separator: " ")) >/etc/vde_vmnet/\(name).conf")
            try debian.run("systemctl", "start", "vde_vmnet@\(name).service")
        }
        // One that joins another unit's switch serves the addresses of that switch's guests.
        try debian.shell("printf '%s\\n' /run/vde/none '--vmnet-gateway 10.9.9.1' >/etc/vde_vmnet/joined.conf")
        try debian.run("systemctl", "start", "vde_vmnet@joined.service")
        for name in ["tap", "user", "host", "none"] { try check("/run/vde/" + name, debian) }

        // Nothing was denied, and nothing stays.
        let log = try debian.run("journalctl", "--no-pager", "--output=cat", "--unit=vde_vmnet@*")
        for word in ["not permitted", "denied", "Read-only", "warning"] { #expect(!log.contains(word), "\(log)") }
        try debian.run("systemctl", "stop", "vde_vmnet@*.service")
        #expect(try debian.shell("nft list tables; ls /run/vde").isEmpty)
        #expect(try debian.attempt("systemctl", "--failed", "--no-legend", "vde_vmnet@*").output.isEmpty)
    }

    /// systemd-resolved resolves names of guests for programs of the host, as long as the network runs.
    @Test func hostResolvesNamesBySystemdResolved() throws {
        let debian = try PackageLife.container()
        try install(1, in: debian)
        try debian.shell(
            """
            systemctl start systemd-resolved
            printf '%s\\n' --switch /run/vde/names '--vmnet-gateway 192.168.105.1' '--domain lab.example' \
                '--dhcp-host 52:54:00:00:00:07,192.168.105.7,web' >/etc/vde_vmnet/names.conf
            systemctl start vde_vmnet@names.service || { journalctl --unit=vde_vmnet@names.service >&2; exit 1; }
            """)
        try eventually("the domain of the TAP") {
            try debian.attempt("resolvectl", "domain", "vmnet0").output.contains("~lab.example")
        }
        #expect(try debian.run("resolvectl", "query", "web.lab.example").contains("192.168.105.7"))
        #expect(try debian.run("resolvectl", "query", "192.168.105.7").contains("web.lab.example"))
        #expect(try debian.run("resolvectl", "default-route", "vmnet0").contains("no"))
        // A crash leaves nothing either: the TAP ends with the process.
        try debian.run("systemctl", "kill", "--signal=KILL", "vde_vmnet@names.service")
        try eventually("the network again") {
            try debian.attempt("resolvectl", "query", "web.lab.example").succeeded
        }
        try debian.run("systemctl", "stop", "vde_vmnet@names.service")
        #expect(try debian.attempt("resolvectl", "query", "web.lab.example").succeeded == false)
    }

    /// Manual pages, completions and documents are where their readers look, and links lead somewhere.
    @Test func documentsAreInstalled() throws {
        let debian = try PackageLife.container()
        try install(1, in: debian)
        for page in ["vde_vmnet", "vde_vmnet-check", "vde_vmnet-run", "vde_vmnet-networks"] {
            #expect(try debian.run("man", "--where", page).contains("/usr/share/man/"))
        }
        for file in [
            "/usr/share/bash-completion/completions/vde_vmnet", "/usr/share/zsh/vendor-completions/_vde_vmnet",
            "/usr/share/fish/vendor_completions.d/vde_vmnet.fish", "/usr/lib/vde_vmnet/socket_vmnet",
        ] { try debian.run("test", "-s", file) }
        #expect(try debian.run("/usr/lib/vde_vmnet/socket_vmnet", "--help").contains("USAGE: socket_vmnet"))
        let broken = try debian.shell(
            """
            cd /usr/share/doc/vde-vmnet
            find . -name '*.md' | while read -r file; do
                grep -o '](\\([^)]*\\))' "$file" | sed 's/^](//; s/)$//; s/#.*//' | grep -v '://' | grep . |
                    while read -r target; do
                        [ -e "${file%/*}/$target" ] || echo "$file: $target"
                    done
            done || :
            """)
        #expect(broken.isEmpty, "\(broken)")
    }
}
