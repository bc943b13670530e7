// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

/// What a policy of names does with queries and responses. It has no clock and no sockets.
///
///     query                                     what becomes of it
///     a name that no rule has                   no such name
///     class other than IN, type ANY             refused: the answer could have records of every type
///     HTTPS, SVCB                               no record: clients go on with A and AAAA. Such records have addresses
///                                               that are not looked up, and keys that hide the name of TLS (ECH)
///     any other                                 forwarded
///
///     response                                  what becomes of it
///     an address that no name may open          no record (DNS rebinding)
///     an HTTPS or SVCB record                   no record
///     malformed, or too many records            SERVFAIL
///     any other                                 passed on, with times to live of one hour at most
///
/// The name of the query decides. The addresses to which it leads, by CNAME records too, are pinned; addresses of other
/// names are passed on, and lead nowhere.
///
/// "No such name" is final for a client. After REFUSED it would go on to its next server and search domain, and repeat
/// the query. Without an SOA record no client caches it (RFC 2308 section 5), so that a name that is allowed later is
/// found at once.
package enum NameFilter {
    /// Records of a response that is read. A message of 64 KiB has room for thousands.
    private static let recordLimit = 512
    /// The longest time to live, in seconds. It bounds how long a pin holds.
    package static let longestTimeToLive: UInt32 = 3600

    /// What becomes of a query.
    package enum QueryVerdict: Equatable, Sendable {
        case forward
        case noSuchName
        case refused
        case noRecords
    }

    /// What becomes of a response.
    package enum ResponseVerdict: Equatable, Sendable {
        /// The message is passed on once these addresses are pinned, each for its time to live in seconds.
        case pass([UInt8], [Found])
        /// The name leads to this address, which no name may open.
        case forbidden(IPAddress)
        case noRecords
        case noSuchName
        case malformed
    }

    /// An address that a name has.
    package struct Found: Equatable, Sendable {
        /// Of an A or AAAA record.
        package let address: IPAddress
        /// Seconds.
        package let timeToLive: UInt32

        package init(address: IPAddress, timeToLive: UInt32) {
            self.address = address
            self.timeToLive = timeToLive
        }
    }

    /// Judges a query.
    package static func judge(_ question: DNSQuestion, under policy: EgressPolicy) -> QueryVerdict {
        guard policy.restrictsNames else { return .forward }
        if policy.scopes(of: question.name).isEmpty { return .noSuchName }
        guard question.recordClass == DNSQuestion.internet, question.type != DNSType.any else { return .refused }
        return isService(question.type) ? .noRecords : .forward
    }

    private static func isService(_ type: UInt16) -> Bool { type == DNSType.https || type == DNSType.service }

    /// Judges a response to a query that was forwarded.
    package static func judge(response: [UInt8], under policy: EgressPolicy) -> ResponseVerdict {
        guard policy.restrictsNames else { return .pass(response, []) }
        guard let view = try? DNSView(response.rawSpan), let question = try? view.question(),
            let records = try? view.records(limit: recordLimit)
        else { return .malformed }
        if policy.scopes(of: question.name).isEmpty { return .noSuchName }
        if records.contains(where: { isMalformed($0, view.bytes) }) { return .malformed }
        if records.contains(where: { isService($0.type) }) { return .noRecords }
        let answers = records.filter { $0.section == .answer && $0.recordClass == DNSQuestion.internet }
        let names = chain(from: question.name, answers, view.bytes)
        var found: [Found] = []
        for record in answers {
            guard let address = address(of: record, view.bytes) else { continue }
            switch policy.verdict(onAnswer: address) {
            case .refused: return .forbidden(address)
            case .allowed: break
            case .pin:
                guard names.contains(record.name) else { continue }
                found.append(Found(address: address, timeToLive: min(record.timeToLive, longestTimeToLive)))
            }
        }
        var message = response
        DNSMessage.limitTimesToLive(of: &message, records: records, to: longestTimeToLive)
        return .pass(message, found)
    }

    /// The addresses to which a response leads, whatever the policy is.
    static func addresses(in response: [UInt8]) -> [Found] {
        guard let view = try? DNSView(response.rawSpan), let question = try? view.question(),
            let records = try? view.records(limit: recordLimit)
        else { return [] }
        let answers = records.filter { $0.section == .answer && $0.recordClass == DNSQuestion.internet }
        let names = chain(from: question.name, answers, view.bytes)
        return answers.filter { names.contains($0.name) }.compactMap { record in
            address(of: record, view.bytes).map { Found(address: $0, timeToLive: record.timeToLive) }
        }
    }

    /// Whether a record that leads to addresses has other data than its type requires. A lenient client could read it.
    private static func isMalformed(_ record: DNSRecordView, _ message: RawSpan) -> Bool {
        guard record.recordClass == DNSQuestion.internet else { return false }
        return switch record.type {
        case DNSType.a, DNSType.aaaa: address(of: record, message) == nil
        case DNSType.canonicalName: record.canonicalName(in: message) == nil
        default: false
        }
    }

    private static func address(of record: DNSRecordView, _ message: RawSpan) -> IPAddress? {
        record.ipv4(in: message).map { .ipv4($0) } ?? record.ipv6(in: message).map { .ipv6($0) }
    }

    /// `name` and the names to which it leads by CNAME records, in whatever order they are.
    private static func chain(from name: DNSName, _ answers: [DNSRecordView], _ message: RawSpan) -> Set<DNSName> {
        var targets: [DNSName: DNSName] = [:]
        for record in answers {
            if let target = record.canonicalName(in: message) { targets[record.name] = target }
        }
        var names: Set<DNSName> = [name]
        var last = name
        while let next = targets[last], names.insert(next).inserted { last = next }
        return names
    }
}
