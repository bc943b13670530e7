// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Runs nftables scripts, by libnftables, which can own tables, or else by nft(8). Used by one thread at a time.
package final class NFTables {
    private let library: NFTablesLibrary?

    /// Loads libnftables, if it is installed.
    package init() { library = try? NFTablesLibrary() }

    /// What scripts would be run by: `libnftables` or `nft`; nil if neither is installed.
    package static var installed: String? {
        if (try? NFTablesLibrary()) != nil { return "libnftables" }
        return Programs.find("nft") == nil ? nil : "nft"
    }

    /// Whether a table with `flags owner` can exist as long as this object.
    package var canOwnTables: Bool { library != nil }

    /// Runs a script as one transaction.
    /// - Returns: the output, as nft(8) prints it.
    @discardableResult
    package func run(_ script: String) throws(UnclassifiedError) -> String {
        let result = try execute(script)
        guard result.succeeded else {
            throw UnclassifiedError(
                "nft rejected the table of this program: "
                    + (result.error.split(separator: "\n").first.map(String.init) ?? "no reason given"))
        }
        return result.output
    }

    /// Whether a script was rejected because the kernel or libnftables lacks what it uses (EOPNOTSUPP, ENOENT).
    static func isLack(_ error: UnclassifiedError) -> Bool {
        ["not supported", "No such file", "syntax error"].contains { error.description.contains(text: $0) }
    }

    /// The output of `nft list table` without the elements of sets and the values of counters, which change with time;
    /// nil if there is no such table.
    package func listing(of table: String) -> String? {
        guard let result = try? execute("list table inet \(table)\n"), result.succeeded else { return nil }
        return NFTables.withoutElements(result.output)
    }

    /// The value of a counter, in packets; nil if there is none.
    package func packets(of counter: String, in table: String) -> Int? {
        guard let result = try? execute("list counter inet \(table) \(counter)\n"), result.succeeded else { return nil }
        return result.output.split(separator: "\n").lazy.compactMap(NFTables.packets).first
    }

    /// The number in `packets NUMBER bytes NUMBER`; nil for another line.
    private static func packets(_ line: Substring) -> Int? {
        let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
        return words.count == 4 && words[0] == "packets" ? Int(words[1]) : nil
    }

    /// Removes `elements = { ... }` of named sets, which may have several lines, and the values of named counters.
    static func withoutElements(_ listing: String) -> String {
        var isElement = false
        return listing.split(separator: "\n", omittingEmptySubsequences: false).filter { line in
            if line.drop(while: { $0 == " " || $0 == "\t" }).hasPrefix("elements = {") { isElement = true }
            defer { if line.last == "}" { isElement = false } }
            return !isElement && packets(line) == nil
        }.joined(separator: "\n")
    }

    private func execute(_ script: String) throws(UnclassifiedError) -> (succeeded: Bool, output: String, error: String)
    {
        if let library { return library.run(script) }
        guard let nft = Programs.find("nft") else {
            throw UnclassifiedError(
                """
                nftables is not installed, and a guest network on a TAP needs it; install the package nftables, or \
                use --uplink user
                """)
        }
        do {
            let result = try ChildProcess.run([nft, "-f", "-"], input: script, leadsGroup: true)
            return (result.succeeded, result.output, result.error)
        } catch {
            throw UnclassifiedError(error.description)
        }
    }
}
