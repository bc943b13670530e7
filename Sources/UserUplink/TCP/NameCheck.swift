// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

// Theory of operation: names within connections (`--check-names`)
// ===============================================================
//
// A connection that a pin of a name has opened, and no rule by address, is checked: the bytes of the guest stay in
// `TCPConnection.toSocket` until this state machine clears them. What the outside sends is not held.
//
//     start      0x16: TLS, else HTTP; with `recognized`, bytes that are neither pass
//     hello      a whole ClientHello, in at most 16 KiB, with an allowed name. Then retry
//     retry      after a HelloRetryRequest the guest sends a second one, which is checked as well. Any other handshake
//                message, or encrypted data, ends the check; encrypted data that is early (0-RTT) is skipped
//     head       a whole head of a request, in at most 16 KiB, with an allowed name. Then its body, then the next head
//
// HTTP is checked to the end of the connection: each request may name another server. So bytes after `Upgrade` must be
// requests again; a server may have ignored that field.

/// How a connection of a guest is checked.
package enum NameCheckKind: Sendable {
    /// Not at all: a rule by address allows it.
    case none
    /// TLS or HTTP, with an allowed name.
    case required
    /// The same if it looks like TLS or HTTP: the rule names a port of another protocol, such as SSH.
    case recognized
}

/// Compares the names in what a guest sends with the policy.
struct NameCheck: Sendable {
    /// Why a connection is refused.
    enum Reason: String, Sendable {
        case otherName = "the connection names it"
        case noName = "the connection has no name"
        case hidden = "the connection hides its name (ECH)"
        case unknown = "neither TLS nor HTTP, or malformed"
        case late = "the beginning did not come in time, or ended"
    }

    /// What becomes of bytes that are held.
    enum Step: Equatable, Sendable {
        /// More are needed.
        case wait
        /// So many of them go on.
        case pass(Int)
        /// They and all later ones go on.
        case passAll
        case refuse(Reason, name: String?)
    }

    private enum State: Sendable {
        case start
        case hello
        /// After a ClientHello. `early`: it has announced early data.
        case retry(early: Bool)
        case head
        case chunk
        /// The line end after a chunk.
        case chunkEnd
        case trailer
    }

    /// Bytes that are held at most: heads and ClientHellos are shorter.
    static let limit = 16 << 10
    /// How long the beginning may take, from its first byte on.
    static let timeout = TimeAmount.seconds(10)

    private let isRequired: Bool
    private var state = State.start
    /// Bytes that go on before the state applies.
    private var skipped = 0
    /// Bytes that are held and were incomplete.
    private var examined = 0

    /// - Parameter kind: `required` or `recognized`.
    init(_ kind: NameCheckKind) { isRequired = kind == .required }

    /// Decides about the bytes that are held.
    /// - Parameters:
    ///   - count: how many there are, at least one.
    ///   - beginning: returns the first of them, up to `limit`.
    ///   - isAllowed: whether the policy allows a name.
    mutating func step(_ count: Int, beginning: () -> [UInt8], isAllowed: (String) -> Bool) -> Step {
        if skipped > 0 {
            let passed = min(skipped, count)
            skipped -= passed
            return .pass(passed)
        }
        let bytes = beginning()
        if examined > 0 && bytes.count < NameCheck.limit && !hasFurtherEnd(bytes) { return .wait }
        let step: Step =
            switch state {
            case .start: begin(bytes)
            case .hello: hello(bytes, isAllowed)
            case .retry(let early): retry(bytes, early: early)
            case .head: head(bytes, isAllowed)
            case .chunk, .chunkEnd, .trailer: body(bytes)
            }
        examined = step == .wait ? bytes.count : 0
        if step == .wait && count >= NameCheck.limit { return .refuse(.unknown, name: nil) }
        return step
    }

    /// Whether a line or a record ends within the new bytes. Otherwise a guest that sends single bytes would have all
    /// of them read again each time.
    private func hasFurtherEnd(_ bytes: [UInt8]) -> Bool {
        switch state {
        case .start, .retry: return true
        case .head, .chunk, .chunkEnd, .trailer: return bytes[examined...].contains(0x0a)
        case .hello:
            var end = 0
            while end <= examined, bytes.count - end >= TLSRecord.headerLength {
                end += TLSRecord.headerLength + (TLSRecord.header(bytes.rawSpan.from(end))?.length ?? 0)
            }
            return end > examined && end <= bytes.count
        }
    }

    private mutating func begin(_ bytes: [UInt8]) -> Step {
        if bytes[0] == TLSRecord.handshake {
            state = .hello
        } else if isRequired {
            state = .head
        } else {
            switch HTTPRequestHead.isFirstLine(bytes) {
            case nil: return .wait
            case false?: return .passAll
            case true?: state = .head
            }
        }
        return .pass(0)
    }

    // MARK: TLS

    private mutating func hello(_ bytes: [UInt8], _ isAllowed: (String) -> Bool) -> Step {
        switch TLSClientHello.read(bytes.rawSpan) {
        case .incomplete: return .wait
        case .malformed: return .refuse(.unknown, name: nil)
        case .complete(let hello, let length):
            if hello.hidesName { return .refuse(.hidden, name: hello.name) }
            guard let name = hello.name else { return .refuse(.noName, name: nil) }
            guard isAllowed(name) else { return .refuse(.otherName, name: name) }
            state = .retry(early: hello.hasEarlyData)
            return .pass(length)
        }
    }

    private mutating func retry(_ bytes: [UInt8], early: Bool) -> Step {
        guard let (type, length) = TLSRecord.header(bytes.rawSpan) else {
            return bytes.count < TLSRecord.headerLength ? .wait : .refuse(.unknown, name: nil)
        }
        // No record without content is valid here (RFC 8446 section 5.1), and a server may ignore it.
        guard length > 0 else { return .refuse(.unknown, name: nil) }
        switch type {
        case TLSRecord.changeCipherSpec, TLSRecord.alert: break
        case TLSRecord.applicationData where early: break
        case TLSRecord.handshake:
            guard bytes.count > TLSRecord.headerLength else { return .wait }
            // 1 is a ClientHello.
            guard bytes[TLSRecord.headerLength] == 1 else { return .passAll }
            state = .hello
            return .pass(0)
        case TLSRecord.applicationData: return .passAll
        default: return .refuse(.unknown, name: nil)
        }
        guard length <= TLSRecord.maximumEncrypted else { return .refuse(.unknown, name: nil) }
        skipped = TLSRecord.headerLength + length
        return .pass(0)
    }

    // MARK: HTTP

    private mutating func head(_ bytes: [UInt8], _ isAllowed: (String) -> Bool) -> Step {
        switch HTTPRequestHead.read(bytes) {
        case .incomplete: return .wait
        case .malformed: return .refuse(.unknown, name: nil)
        case .complete(let head, let length):
            if let other = head.hosts.first(where: { !isAllowed($0) }) { return .refuse(.otherName, name: other) }
            if head.hosts.isEmpty { return .refuse(.noName, name: nil) }
            switch head.body {
            case .length(let count): skipped = count
            case .chunked: state = .chunk
            }
            return .pass(length)
        }
    }

    private mutating func body(_ bytes: [UInt8]) -> Step {
        let isChunk = if case .chunk = state { true } else { false }
        switch isChunk ? HTTPRequestHead.readChunk(bytes) : HTTPRequestHead.readTrailer(bytes) {
        case .incomplete: return .wait
        case .malformed: return .refuse(.unknown, name: nil)
        case .chunk(let line, let size):
            switch state {
            case .chunk:
                skipped = size
                state = size == 0 ? .trailer : .chunkEnd
            case .chunkEnd:
                guard size == 0 else { return .refuse(.unknown, name: nil) }
                state = .chunk
            default: if size == 0 { state = .head }
            }
            return .pass(line)
        }
    }
}
