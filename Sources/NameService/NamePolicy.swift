// SPDX-License-Identifier: Apache-2.0
import Logging
import NetworkModel
import Platform
import Timing
import Wire

/// Applies the names of an egress policy to guests' queries and the responses to them: `NameFilter` decides, this pins
/// addresses before a guest learns of them, and counts what is refused.
package final class NamePolicy {
    /// How long a pin holds beyond the time to live, for clients that connect late.
    package static let grace = TimeAmount.seconds(120)
    /// Between two messages about pins that cannot be made.
    private static let logInterval = TimeAmount.seconds(10)

    /// The policy.
    package var egress: EgressPolicy
    /// Lets a guest connect to addresses of a name until a time; false if it cannot.
    package var onPins: ([EgressPin], DNSName, Instant) -> Bool = { _, _, _ in true }
    /// Addresses are pinned although the policy allows them: a proxy gets the names that have led to them.
    package var recordsAnswers = false
    private let logger: Logger
    private var nextLog = Instant.distantPast
    private var refusals = RefusalTable()
    /// Queries for names that are not allowed.
    package private(set) var refusedNames = 0
    /// Responses with addresses that no name may open.
    package private(set) var refusedAnswers = 0

    package init(_ egress: EgressPolicy, logger: Logger) {
        self.egress = egress
        self.logger = logger
    }

    /// The response to a query that is not to be forwarded; nil for one that is.
    func response(to query: [UInt8], _ question: DNSQuestion, from guest: MACAddress?) -> [UInt8]? {
        let verdict = NameFilter.judge(question, under: egress)
        guard verdict != .forward, let message = try? DNSView(query.rawSpan) else { return nil }
        switch verdict {
        case .forward: return nil
        case .noSuchName:
            refusedNames += 1
            note(guest, question.name.description, nil)
            return DNSMessage.failure(of: message, code: .nameError)
        case .refused: return DNSMessage.failure(of: message, code: .refused)
        case .noRecords:
            return DNSMessage.answer(to: message, records: [], timeToLive: 0)
                ?? DNSMessage.failure(of: message, code: .formatError)
        }
    }

    /// What a guest gets in place of `response`, once the addresses in it are pinned.
    func admit(_ response: [UInt8], for guest: MACAddress?) -> [UInt8] {
        if recordsAnswers && !egress.restrictsNames { record(response, for: guest) }
        switch NameFilter.judge(response: response, under: egress) {
        case .pass(let message, let found):
            return found.isEmpty || pin(found, message, for: guest)
                ? message : NamePolicy.failure(response, .serverFailure)
        case .forbidden(let address):
            refusedAnswers += 1
            let name = (try? DNSView(response.rawSpan).question().name.description) ?? ""
            note(guest, name, address)
            return NamePolicy.failure(response, .noError)
        case .noRecords: return NamePolicy.failure(response, .noError)
        case .noSuchName: return NamePolicy.failure(response, .nameError)
        case .malformed: return NamePolicy.failure(response, .serverFailure)
        }
    }

    private func pin(_ found: [NameFilter.Found], _ message: [UInt8], for guest: MACAddress?) -> Bool {
        guard let guest, let name = try? DNSView(message.rawSpan).question().name else { return false }
        let scopes = egress.scopes(of: name)
        let pins = found.flatMap { one in
            scopes.map { EgressPin(guest: guest, address: one.address, scope: $0) }
        }
        // Records of one name and type have one time to live (RFC 2181 section 5.2). With several types, the longest.
        let longest = found.map(\.timeToLive).max() ?? 0
        let now = BootClock.now
        if onPins(pins, name, now + .seconds(Int64(longest)) + NamePolicy.grace) { return true }
        if now >= nextLog {
            nextLog = now + NamePolicy.logInterval
            logger.error("the addresses of \(name) cannot be allowed to \(guest); it gets a server failure")
        }
        return false
    }

    private func record(_ response: [UInt8], for guest: MACAddress?) {
        let found = NameFilter.addresses(in: response)
        guard let guest, !found.isEmpty, let name = try? DNSView(response.rawSpan).question().name else { return }
        let pins = found.map { EgressPin(guest: guest, address: $0.address, scope: .everyPort) }
        _ = onPins(pins, name, BootClock.now + NamePolicy.grace)
    }

    private static func failure(_ response: [UInt8], _ code: DNSResponseCode) -> [UInt8] {
        if let stripped = DNSMessage.withoutRecords(response, code: code) { return stripped }
        let id = (try? DNSView(response.rawSpan).id) ?? 0
        return DNSMessage.failure(id: id, isRecursionDesired: true, question: nil, code: .serverFailure)
    }

    // MARK: Refusals

    private func note(_ guest: MACAddress?, _ name: String, _ address: IPAddress?) {
        guard refusals.hasRoom(for: guest) else { return }
        refusals.insert(EgressRefusal(hardware: guest, name: name, address: address, transport: "dns"))
    }

    /// Removes and returns the refusals since the last call, each once, and the number of those that had no room.
    package func takeRefusals() -> (refusals: [EgressRefusal], further: [MACAddress?: Int]) { refusals.take() }
}
