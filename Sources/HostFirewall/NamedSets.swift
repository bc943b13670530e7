// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// Looks addresses up in named sets of nftables. The kernel is queried for single addresses, because a set may have any
/// number of elements.
final class NamedSets {
    /// A set and an address.
    struct Query: Hashable {
        let family: String
        let table: String
        let set: String
        let address: String
    }

    /// After so many queries, nothing more is looked up.
    private static let maximumQueries = 64

    private let lookUp: (Query) -> Bool?
    private var results: [Query: Bool?] = [:]

    /// - Parameter lookUp: returns whether the set contains the address; nil if that is unknown.
    init(lookUp: @escaping (Query) -> Bool?) { self.lookUp = lookUp }

    /// The sets of the kernel.
    /// - Parameter nft: the path of nft(8).
    convenience init(nft: String) {
        self.init { query in
            let words = [nft, "get", "element", query.family, query.table, query.set, "{ \(query.address) }"]
            guard
                let output = try? ChildProcess.run(words, environment: ["LC_ALL": "C"], timeout: .seconds(5))
            else { return nil }
            if output.succeeded { return true }
            // The kernel's ENOENT. If there is no such set, nft itself reports that.
            return output.error.contains(text: "Could not process rule: No such file or directory") ? false : nil
        }
    }

    /// Whether a set of the chain's table contains an address; nil if that is unknown.
    func contains(_ address: IPAddress, _ set: Substring, of chain: Ruleset.Chain) -> Bool? {
        let query = Query(family: chain.family, table: chain.table, set: String(set), address: "\(address)")
        if let result = results[query] { return result }
        guard results.count < NamedSets.maximumQueries else { return nil }
        let result = lookUp(query)
        results[query] = .some(result)
        return result
    }
}
