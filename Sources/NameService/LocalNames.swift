// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Timing
import Wire

/// The names that the proxy answers by itself. Every query passes here before it is forwarded.
///
///     name                       answered by
///     gateway, host              the zone
///     another bare name          the host's `/etc/hosts`, else the zone: a guest cannot take such a name
///     any other                  the zone; `/etc/hosts` if the zone has no such name
package final class LocalNames {
    /// Seconds for which clients may cache an answer, because names and addresses change with leases.
    private static let timeToLive: UInt32 = 10

    private var zone: GuestZone?
    /// The host's `/etc/hosts`.
    package let hosts: HostsFile
    /// The guests; nil if there is none, as without a DHCP server.
    package weak var directory: (any GuestDirectory)?

    /// - Parameter zone: nil if guests have no names.
    package init(zone: GuestZone?, hosts: HostsFile = HostsFile()) {
        self.zone = zone
        self.hosts = hosts
    }

    /// Sets the gateway's IPv6 addresses, as far as they are known, and the guests' IPv6 network.
    package func setIPv6(gateway addresses: [IPv6Address], _ network: IPv6Network?) {
        zone?.gatewayIPv6 = addresses
        zone?.network6 = network
    }

    /// Whether the question is about a name of a guest, whatever names a policy allows.
    func owns(_ question: DNSQuestion) -> Bool {
        hostsAnswer(toBare: question) == nil && zone?.answer(question, directory) != nil
    }

    /// The answer of `/etc/hosts` to a question about a name without a domain; nil for any other question, and if the
    /// file does not have the name.
    private func hostsAnswer(toBare question: DNSQuestion) -> LocalAnswer? {
        guard question.name.labels.count == 1, zone?.isGateway(question.name.labels[0]) != true else { return nil }
        hosts.refresh()
        return hosts.table.answer(question)
    }

    /// The response to `query`, whose question is `question`; nil if a resolver of the host answers.
    func response(to query: [UInt8], _ question: DNSQuestion, over transport: DNSTransport) -> [UInt8]? {
        guard let answer = answer(question) else { return nil }
        return response(to: query, answer, over: transport)
    }

    /// The response to a query of the host: only names of the zone are answered, the others are refused. Nil for a
    /// message that is no query.
    func responseToHost(_ query: [UInt8], over transport: DNSTransport) -> [UInt8]? {
        switch DNSQueryClassifier.classify(query.rawSpan) {
        case .ignore: return nil
        case .answer(let response): return response
        case .forward(let question):
            return response(to: query, owns(question) ? answer(question) ?? .refused : .refused, over: transport)
        }
    }

    private func response(to query: [UInt8], _ answer: LocalAnswer, over transport: DNSTransport) -> [UInt8]? {
        guard let message = try? DNSView(query.rawSpan) else { return nil }
        if let extended = (try? message.extended()) ?? nil, extended.version > 0 {
            return DNSMessage.unsupportedVersion(of: message, extended)
        }
        switch answer {
        case .noSuchName: return DNSMessage.failure(of: message, code: .nameError)
        case .refused: return DNSMessage.failure(of: message, code: .refused)
        case .records(let records):
            let whole = DNSMessage.answer(to: message, records: records, timeToLive: LocalNames.timeToLive)
            guard let whole else { return DNSMessage.failure(of: message, code: .formatError) }
            return whole.count <= message.longestResponse(over: transport) ? whole : DNSMessage.truncated(whole)
        }
    }

    private func answer(_ question: DNSQuestion) -> LocalAnswer? {
        if let given = hostsAnswer(toBare: question) { return given }
        let own = zone?.answer(question, directory)
        guard own == nil || own == .noSuchName else { return own }
        hosts.refresh()
        return hosts.table.answer(question) ?? own
    }
}

extension DNSView {
    /// Bytes of the longest response that the sender of this query accepts (RFC 1035 section 4.2.1, RFC 6891 section
    /// 6.2.3).
    func longestResponse(over transport: DNSTransport) -> Int {
        transport == .stream
            ? DNSMessage.maximumLength
            : max(ExtendedDNS.minimumPayload, Int(((try? extended()) ?? nil)?.payloadSize ?? 0))
    }
}
