// SPDX-License-Identifier: Apache-2.0
import Wire

/// Decides what to do with a DNS message from a client.
package enum DNSQueryClassifier {
    /// What to do with a message.
    package enum Disposition: Equatable, Sendable {
        /// The proxy answers by itself, with this response.
        case answer([UInt8])
        /// A resolver of the host answers.
        case forward(DNSQuestion)
        /// Not a query: no response, so that two servers never answer each other for ever.
        case ignore
    }

    private static let localhost = DNSName("localhost")!
    /// Seconds for which clients may cache the address of `localhost`.
    private static let localhostTimeToLive: UInt32 = 3600

    /// The proxy answers `localhost` and names below it, which never leave the host (RFC 6761 section 6.3). A query
    /// that cannot be forwarded gets an error, because a client treats silence as loss and repeats the query (RFC
    /// 8906).
    package static func classify(_ query: RawSpan) -> Disposition {
        guard let message = try? DNSView(query), !message.isResponse else { return .ignore }
        guard message.operation == 0 else {
            return .answer(DNSMessage.failure(of: message, code: .notImplemented))
        }
        guard let question = try? message.question() else {
            return .answer(DNSMessage.failure(of: message, code: .formatError))
        }
        // A zone transfer is more than one message, and the forwarder passes on one.
        guard question.type != DNSType.axfr && question.type != DNSType.ixfr else {
            return .answer(DNSMessage.failure(of: message, code: .refused))
        }
        guard question.name.isWithin(localhost) else { return .forward(question) }
        let records: [DNSRecord] =
            switch question.type {
            case _ where question.recordClass != DNSQuestion.internet: []
            case DNSType.a: [DNSRecord(IPv4Address(127 << 24 | 1))]
            case DNSType.aaaa: [DNSRecord(IPv6Address.loopback)]
            default: []
            }
        return .answer(
            DNSMessage.answer(to: message, records: records, timeToLive: localhostTimeToLive)
                ?? DNSMessage.failure(of: message, code: .formatError))
    }
}
