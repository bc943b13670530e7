// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The servers of one domain, in place of those of all other names.
package struct DNSRoute<Server: Hashable & Sendable>: Sendable {
    /// Names at and below it are queried of `servers` only.
    package let domain: DNSName
    /// In order of preference.
    package var servers: [Server]

    package init(domain: DNSName, servers: [Server]) {
        self.domain = domain
        self.servers = servers
    }
}

// What the forwarder holds.

extension DNSForwarder {
    /// Bounds of what guests can make the forwarder do.
    package struct Limits: Sendable {
        /// Transactions at a time, of all guests.
        package var transactions = 512
        /// Transactions at a time, of one guest.
        package var transactionsPerGuest = 256
        /// Queries that wait for a response, of all guests.
        package var waiting = 1024
        /// Queries that wait for a response, of one guest.
        package var waitingPerGuest = 256

        /// Transactions over TCP at a time, of all guests. Each has two connections at most.
        package var streams = 32

        /// The limits of a process that may open enough sockets.
        package init() {}
    }

    struct Waiter: Sendable {
        let client: Client
        let id: UInt16
        let guest: DNSGuest
    }

    /// Queries with equal keys get the same response, but for its id.
    struct Key: Hashable, Sendable {
        let transport: DNSTransport
        /// Without the id.
        let query: ArraySlice<UInt8>
    }

    struct Transaction: Sendable {
        let key: Key
        let question: DNSQuestion
        let query: [UInt8]
        let upstreamID: UInt16
        /// The guest in whose share it counts.
        let owner: DNSGuest
        /// Bytes of the longest response that its clients accept.
        let longestResponse: Int
        var waiters: [Waiter]
        /// Servers in the order of the queries to them, with repetitions.
        var queried: [Server] = []
        /// Servers that were queried over TCP.
        var queriedByStream: [Server] = []
        var isStreaming: Bool { !queriedByStream.isEmpty }
        /// Servers that refused, failed or are unreachable.
        var failed: [Server] = []
        /// The response of the last of them that sent one.
        var refusal: [UInt8]?
        var due: Instant
    }
}
