// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Timing

/// A clean Debian with systemd as its first process, in separate namespaces. All changes are lost at its end.
final class DebianContainer {
    private let program: BackgroundProgram
    /// The identifier of its first process on this host.
    private let leader: Int32

    /// - Parameters:
    ///   - folder: its root file system, which stays as it is.
    ///   - packages: a folder that appears as /packages.
    init(folder: String, packages: String) throws {
        let name = "vde-vmnet-test-\(CurrentProcess.identifier)"
        program = try BackgroundProgram(
            [
                "systemd-nspawn", "--quiet", "--directory", folder, "--volatile=overlay", "--boot", "--private-network",
                "--register=no", "--keep-unit", "--machine", name, "--console=pipe", "--bind=/dev/net/tun",
                "--bind-ro=" + packages + ":/packages",
            ],
            // Without systemd on this host, nspawn cannot see which hierarchy the container needs.
            environment: ["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"])
        let nspawn = program.identifier
        var found: Int32?
        try eventually("the first process of the container", within: 60) {
            // The process that becomes systemd is the one that sets up the root file system first.
            let children = Files.text("/proc/\(nspawn)/task/\(nspawn)/children") ?? ""
            found = children.split(separator: " ").compactMap { Int32($0) }.first {
                Files.text("/proc/\($0)/comm") == "systemd"
            }
            return found != nil
        }
        leader = found!
        try eventually("the start of the container", within: 120) {
            let state = try attempt("systemctl", "is-system-running").output.trimmed
            return state == "running" || state == "degraded"
        }
    }

    deinit {
        // SIGTERM to nspawn switches the container off; at the second one, it ends at once.
        ProcessTable.signal(program.identifier, Signal.terminate)
        if (try? program.waitForEnd(within: 60)) == nil { program.kill() }
    }

    private var entering: [String] {
        [
            "nsenter", "--target", "\(leader)", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root",
            "--wd", "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
            "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
        ]
    }

    /// The words before a command of a user, who has logged in.
    private func asUser(_ user: String) -> [String] {
        [
            "runuser", "--user", user, "--", "sh", "-c",
            "[ ! -d /run/user/$(id -u) ] || export XDG_RUNTIME_DIR=/run/user/$(id -u); cd && exec \"$@\"", "sh",
        ]
    }

    /// Runs a command to its end, whatever comes of it.
    func attempt(_ words: String..., user: String? = nil) throws -> ChildProcess.Output {
        try ChildProcess.run(entering + (user.map(asUser) ?? []) + words, timeout: .seconds(120))
    }

    /// Runs a command and returns what it printed on both streams.
    /// - Throws: if it fails.
    @discardableResult
    func run(_ words: String..., user: String? = nil) throws -> String {
        let result = try ChildProcess.run(entering + (user.map(asUser) ?? []) + words, timeout: .seconds(120))
        guard result.succeeded else {
            throw CommandFailed(
                description: "\(words.joined(separator: " ")): \(result.termination)\n\(result.output)\(result.error)")
        }
        return result.output + result.error
    }

    /// Runs a shell script of root.
    @discardableResult
    func shell(_ script: String) throws -> String { try run("sh", "-ec", script) }

    func start(_ words: String..., user: String? = nil) throws -> BackgroundProgram {
        try BackgroundProgram(entering + (user.map(asUser) ?? []) + words)
    }

    /// Every file of the system, and its groups; without what dpkg, systemd and logs change by themselves.
    func inventory() throws -> Set<String> {
        let text = try shell(
            """
            find / -xdev -path /proc -prune -o -path /sys -prune -o -print
            find /run -mindepth 1 -maxdepth 2
            cut -d: -f1 /etc/group | sed 's/^/group /'
            cut -d: -f1 /etc/passwd | sed 's/^/user /'
            """)
        let own = [
            "/var/lib/dpkg/", "/var/log/", "/var/cache/", "/run/systemd/", "/run/log/", "/run/user/", "/run/udev/",
            "/tmp/systemd-private", "/var/tmp/systemd-private", "/var/lib/systemd/", "/run/lock", "/home/", "/run/sudo",
            "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/packages", "/var/lib/private",
            "/run/credentials", "/etc/.pwd.lock",
        ]
        return Set(
            text.split(separator: "\n").map(String.init).filter { line in !own.contains { line.hasPrefix($0) } })
    }
}
