// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Our own nftables table: NAT for the guests of one TAP, and nobody else's business.
package struct Firewall: Equatable, Sendable {
    /// `vde_vmnet_` and the TAP's name.
    package let table: String
    private let tap: String
    private let network: IPv4Network
    /// Interfaces on which forwarding was off before we needed it. Between them and anything but our TAP it stays off.
    package var guarded: [String] = []

    package init(tap: String, network: IPv4Network) {
        self.tap = tap
        self.network = network
        table = Firewall.tableName(tap: tap)
    }

    package static func tableName(tap: String) -> String { "vde_vmnet_" + tap }

    /// The whole table as one transaction, which replaces what an earlier run may have left.
    package var script: String {
        let guards = guarded.map { "    iifname \"\($0)\" oifname != \"\(tap)\" drop\n" }.joined()
        return """
            table inet \(table)
            delete table inet \(table)
            table inet \(table) {
              chain forward {
                type filter hook forward priority filter; policy accept;
                iifname "\(tap)" ip saddr != \(network) drop
                iifname "\(tap)" accept
                oifname "\(tap)" ct state established,related accept
                oifname "\(tap)" drop
            \(guards)  }
              chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr \(network) oifname != "\(tap)" ip daddr != { \(network), 224.0.0.0/4, 255.255.255.255 } masquerade
              }
            }

            """
    }

    /// Removes a table if it is there.
    package static func removalScript(table: String) -> String { "table inet \(table)\ndelete table inet \(table)\n" }

    /// Why nft did not do it.
    package struct Failure: Error, Sendable, CustomStringConvertible {
        package let description: String
        /// nft is not installed.
        package let isMissing: Bool
    }

    /// Hands a script to `nft -f -`, which carries it out as a whole or not at all.
    package static func apply(_ script: String) throws(Failure) {
        guard let nft = Programs.find("nft") else {
            throw Failure(
                description: "nft is not installed, and NAT needs it; install the package nftables, or use --vmnet-mode host, which has no way out", isMissing: true)
        }
        let result: ChildProcess.Output
        do {
            result = try ChildProcess.run([nft, "-f", "-"], input: script)
        } catch {
            throw Failure(description: error.description, isMissing: false)
        }
        guard result.succeeded else {
            throw Failure(description: "nft refused our table: " + (result.error.split(separator: "\n").first.map(String.init) ?? "no reason given"), isMissing: false)
        }
    }
}

/// Programs of the system's administration, which are often not in a user's PATH.
package enum Programs {
    package static func find(_ name: String) -> String? {
        let path = (Accounts.environment("PATH") ?? "") + ":/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
        for directory in path.split(separator: ":") where Files.isExecutable("\(directory)/\(name)") { return "\(directory)/\(name)" }
        return nil
    }
}
