// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// DNS servers of one interface in systemd-resolved, by `resolvectl(1)`. systemd-resolved drops them with the
/// interface.
package enum SystemdResolved {
    /// The socket of its Varlink service.
    private static let socket = "/run/systemd/resolve/io.systemd.Resolve"
    private static let timeout = TimeAmount.seconds(10)

    /// Whether systemd-resolved runs, in this process's network namespace. Elsewhere, the index of an interface is that
    /// of another one. False also if this process may not find out.
    package static var isHere: Bool {
        guard Programs.find("resolvectl") != nil else { return false }
        do throws(SystemError) {
            let connection = try Socket.unixStream()
            try connection.connect(to: UnixPath(socket))
            let process = try connection.peerCredentials().process
            // One file in each namespace. Unlike ns/net, it may be examined without CAP_SYS_PTRACE.
            let own = try Files.status("/proc/self/net/dev"), other = try Files.status("/proc/\(process)/net/dev")
            return own.device == other.device && own.inode == other.inode
        } catch {
            return false
        }
    }

    /// Sends the host's queries below some domains to a server, in place of other servers, and no other queries. Blocks
    /// until systemd-resolved has answered, 30 seconds at most.
    /// - Parameters:
    ///   - server: an address of the host; queries to a loopback address do not leave by `interface`.
    ///   - interface: the interface that these settings end with.
    /// - Returns: why that failed; nil if it succeeded.
    package static func set(_ server: SocketAddress, for domains: [String], of interface: String) -> String? {
        let commands = [
            ["dns", interface, server.description], ["domain", interface] + domains.map { "~\($0)" },
            ["default-route", interface, "no"],
        ]
        for command in commands {
            if let failure = run(command) {
                revert(interface)
                return failure
            }
        }
        return nil
    }

    /// Takes back what `set` has set. Has no effect if there is nothing.
    package static func revert(_ interface: String) { _ = run(["revert", interface]) }

    /// What `resolvectl` prints; nil if it fails. Blocks, ten seconds at most.
    package static func report(_ arguments: [String]) -> String? {
        guard let program = Programs.find("resolvectl"),
            let output = try? ChildProcess.run([program] + arguments, leadsGroup: true, timeout: timeout),
            output.succeeded
        else { return nil }
        return output.output
    }

    private static func run(_ arguments: [String]) -> String? {
        guard let program = Programs.find("resolvectl") else { return "resolvectl is not installed" }
        do throws(SystemError) {
            let output = try ChildProcess.run([program] + arguments, leadsGroup: true, timeout: timeout)
            if output.succeeded { return nil }
            return output.error.split(separator: "\n").first.map(String.init) ?? "resolvectl gave no reason"
        } catch {
            return error.description
        }
    }
}
