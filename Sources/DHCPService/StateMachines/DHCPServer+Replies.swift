// SPDX-License-Identifier: Apache-2.0
import Wire

// Replies, and what does not fit into them.

extension DHCPServer {
    /// What the log has named once: search domains and options that do not fit into replies.
    struct NotedOmissions: Sendable {
        /// The host's search list may change without end.
        private static let mostDomains = 256
        private var domains: Set<DNSName> = []
        private var options: Set<UInt8> = []

        /// Those that are new.
        mutating func take(_ omissions: DHCPReply.Omissions) -> DHCPReply.Omissions {
            var new = omissions
            new.domains = omissions.domains.filter {
                domains.count < NotedOmissions.mostDomains && domains.insert($0).inserted
            }
            new.options = omissions.options.filter { options.insert($0).inserted }
            return new
        }
    }

    /// Sends a reply. What does not fit into it is noted once.
    mutating func send(_ reply: DHCPReply, into outbox: inout Outbox) {
        let (bytes, omissions) = reply.frame()
        outbox.frames.append(bytes)
        if omissions.domains.isEmpty && omissions.options.isEmpty { return }
        let new = notedOmissions.take(omissions)
        let room = "DHCP messages of \(new.limit) bytes, as \(new.client) accepts"
        if !new.domains.isEmpty {
            let names = new.domains.map(\.description).joined(separator: ", ")
            outbox.note(
                .warning,
                "search domains that do not fit into \(room): \(names); use fewer ones, or choose them by "
                    + "--dhcp-option domain-search=NAME,NAME")
        }
        if !new.options.isEmpty {
            let codes = new.options.map { "\($0)" }.joined(separator: ", ")
            outbox.note(
                .warning,
                "DHCP options that do not fit into \(room): \(codes); shorten the values of --dhcp-option")
        }
    }
}
