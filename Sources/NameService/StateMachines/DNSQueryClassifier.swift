// SPDX-License-Identifier: Apache-2.0
import Wire

/// What becomes of a DNS query.
package enum DNSQueryClassifier: Equatable, Sendable {
    /// The answer is known here, or that there is none.
    case answer([UInt8])
    /// One of the host's resolvers is to be asked.
    case forward(DNSQuestion)
    /// Not a query: no answer, so that two servers can never answer each other for ever.
    case ignore

    private static let localhost = DNSName("localhost")!

    /// Judges a message that a client sent. `localhost` and names below it are answered here and never leave the host
    /// (RFC 6761 section 6.3). A query that cannot be forwarded gets an error, because a client treats silence as loss
    /// and repeats the query (RFC 8906).
    package init(query: RawSpan) {
        guard let message = try? DNSView(query), !message.isResponse else {
            self = .ignore
            return
        }
        guard message.operation == 0 else {
            self = .answer(DNSMessage.failure(of: message, code: .notImplemented))
            return
        }
        guard let question = try? message.question() else {
            self = .answer(DNSMessage.failure(of: message, code: .formatError))
            return
        }
        // A zone transfer is more than one message, and a forwarder passes on one.
        guard question.type != DNSType.axfr && question.type != DNSType.ixfr else {
            self = .answer(DNSMessage.failure(of: message, code: .refused))
            return
        }
        guard question.name.isWithin(DNSQueryClassifier.localhost) else {
            self = .forward(question)
            return
        }
        let records: [[UInt8]] =
            switch question.type {
            case DNSType.a: [[127, 0, 0, 1]]
            case DNSType.aaaa: [[UInt8](repeating: 0, count: 15) + [1]]
            default: []
            }
        self = .answer(
            DNSMessage.answer(
                id: message.id, wantsRecursion: message.wantsRecursion, question: question, records: records,
                timeToLive: 3600))
    }
}
