// SPDX-License-Identifier: Apache-2.0
import Platform

/// Carries out nftables scripts: by libnftables, which can own tables, else by nft(8). One thread at a time.
package final class NFTables {
    /// Why a script was not carried out.
    package struct Failure: Error, Sendable, CustomStringConvertible {
        package let description: String
        /// Neither libnftables nor nft is installed.
        package let isMissing: Bool
    }

    private let library: NFTablesLibrary?

    package init() { library = try? NFTablesLibrary() }

    /// Whether tables with `flags owner` live as long as this object.
    package var canOwnTables: Bool { library != nil }

    /// Carries out a script as a whole or not at all.
    /// - Returns: what nft(8) would print.
    @discardableResult
    package func run(_ script: String) throws(Failure) -> String {
        let result = try carryOut(script)
        guard result.succeeded else {
            throw Failure(
                description: "nft refused our table: "
                    + (result.error.split(separator: "\n").first.map(String.init) ?? "no reason given"),
                isMissing: false)
        }
        return result.output
    }

    /// What `nft list table` prints; nil if there is no such table.
    package func listing(of table: String) -> String? {
        guard let result = try? carryOut("list table inet \(table)\n"), result.succeeded else { return nil }
        return result.output
    }

    private func carryOut(_ script: String) throws(Failure) -> (succeeded: Bool, output: String, error: String) {
        if let library { return library.run(script) }
        guard let nft = Programs.find("nft") else {
            throw Failure(
                description:
                    "nftables is not installed, and a guest network on a TAP needs it; install the package nftables, or use --uplink user",
                isMissing: true)
        }
        do {
            let result = try ChildProcess.run([nft, "-f", "-"], input: script, leadsGroup: true)
            return (result.succeeded, result.output, result.error)
        } catch {
            throw Failure(description: error.description, isMissing: false)
        }
    }
}
