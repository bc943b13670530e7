// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// A read-only TFTP server (RFC 1350, 2347, 2348, 2349 and 7440). It has no clock, no socket and opens no file: it
/// takes messages, open files and the time, and returns effects in an `Outbox`.
///
/// # Theory of operation
///
///     state of a transfer   event                            next state
///     -                     read request                     opening, and the runner opens the file
///     opening               the file is open                 sending: options, or the first blocks
///     opening               the file cannot be opened        -, and the client gets an error
///     sending               acknowledgement of a block       sending: the blocks after it
///     sending               acknowledgement of the last      -
///     sending               timeout, up to five in a row     sending: the same blocks
///     sending               an error of the client           -
///
/// All transfers use the server's port 69, and the client's port distinguishes them. So the switch recognises the
/// datagrams of every transfer by one port, and no state of a transfer is in the switch. Clients accept this, because
/// they take the server's port from its first reply.
///
/// # Bounds
///
/// A guest has eight transfers at a time, and a port of the switch no more than it leaves free. One more gets an error,
/// and one more than the server can have gets no reply: the client repeats its request. A window has 16 blocks at most,
/// so that a guest that acknowledges nothing gets that many blocks six times. Only an acknowledgement of a new block
/// leads to further blocks.
package struct TFTPServer<File: TFTPFile> {
    /// Transfers at a time. Each has one descriptor.
    package static var maximumTransfers: Int { 64 }
    /// Transfers of one address at a time.
    package static var maximumTransfersOfGuest: Int { 8 }

    /// What has happened since the start.
    package struct Counters: Equatable, Sendable, CustomStringConvertible {
        /// Files that arrived as a whole.
        package var completed = 0
        /// Transfers that the client has ended, or that have timed out.
        package var failed = 0
        /// Requests that got an error.
        package var refused = 0
        /// Datagrams that are no messages, and requests that got no reply.
        package var ignored = 0

        package var description: String {
            "\(completed) loaded, \(failed) failed, \(refused) refused, \(ignored) ignored"
        }
    }

    /// Effects that the runner carries out.
    package struct Outbox {
        /// Messages for clients.
        package var messages: [(message: TFTPMessage, client: TFTPClient)] = []
        /// Files to open, each by its path below the served directory. `opened` takes the result.
        package var opens: [(number: UInt32, path: [UInt8])] = []
        /// Log messages, for level debug.
        package var notes: [String] = []

        /// No effects.
        package init() {}
    }

    private enum Transfer {
        case opening(UInt32, TFTPRequest)
        case sending(TFTPTransfer<File>)
    }

    /// Bytes of a block that fits into one packet.
    private let largestBlock: Int
    private var transfers: [TFTPClient: Transfer] = [:]
    private var nextNumber: UInt32 = 0
    /// Since the start.
    package private(set) var counters = Counters()

    /// - Parameter largestBlock: bytes of a block that fits into one packet.
    package init(largestBlock: Int) { self.largestBlock = largestBlock }

    /// Transfers that run.
    package var count: Int { transfers.count }

    /// When `tick` must be called next; nil without a transfer.
    package var nextDeadline: Instant? {
        transfers.values.compactMap { if case .sending(let transfer) = $0 { transfer.deadline } else { nil } }.min()
    }

    // MARK: Input

    /// Handles a datagram of a client.
    package mutating func receive(
        _ payload: RawSpan, from client: TFTPClient, now: Instant, into outbox: inout Outbox
    ) {
        guard let message = try? TFTPMessage(parsing: payload) else { return counters.ignored += 1 }
        switch message {
        case .read(let request): read(request, client, now: now, into: &outbox)
        case .write: refuse(client, .accessViolation, "files are read-only here", into: &outbox)
        case .acknowledgement(let block):
            guard let transfer = transfers[client] else {
                return refuse(client, .unknownTransfer, "no such transfer", into: &outbox)
            }
            if case .sending(let sending) = transfer {
                advance(sending, client, into: &outbox) { $0.acknowledge(block, now: now, $1) }
            }
        case .error(let code, _):
            guard transfers.removeValue(forKey: client) != nil else { return counters.ignored += 1 }
            counters.failed += 1
            outbox.notes.append("\(client.address) has ended its transfer with error \(code)")
        case .data, .optionAcknowledgement: counters.ignored += 1
        }
    }

    /// The result of opening a file of `Outbox.opens`.
    /// - Parameter file: nil with the reason why it was not opened.
    package mutating func opened(
        _ number: UInt32, _ file: File?, refusal: (code: TFTPErrorCode, text: String) = (.notDefined, ""), now: Instant,
        into outbox: inout Outbox
    ) {
        let found = transfers.first { if case .opening(number, _) = $0.value { true } else { false } }
        // The client may have ended the transfer, or started another one in its place.
        guard let (client, transfer) = found, case .opening(_, let request) = transfer else { return }
        transfers[client] = nil
        guard let file else { return refuse(client, refusal.code, refusal.text, into: &outbox) }
        advance(TFTPTransfer(request, file, largestBlock: largestBlock, now: now), client, into: &outbox) {
            $0.send(now: now, $1)
        }
    }

    /// Ends all transfers whose file is not open yet: no further result comes.
    package mutating func refuseOpening(_ refusal: (code: TFTPErrorCode, text: String), into outbox: inout Outbox) {
        for (client, transfer) in transfers {
            guard case .opening = transfer else { continue }
            transfers[client] = nil
            refuse(client, refusal.code, refusal.text, into: &outbox)
        }
    }

    /// Retransmits what is due, and ends transfers whose client no longer replies.
    package mutating func tick(now: Instant, into outbox: inout Outbox) {
        for (client, transfer) in transfers {
            guard case .sending(let sending) = transfer, sending.deadline <= now else { continue }
            advance(sending, client, into: &outbox) { $0.retransmit(now: now, $1) }
        }
    }

    /// Ends the transfers of clients that `isAllowed` refuses.
    package mutating func retain(where isAllowed: (TFTPClient) -> Bool) {
        for client in transfers.keys where !isAllowed(client) {
            transfers[client] = nil
            counters.failed += 1
        }
    }

    // MARK: Transfers

    private mutating func read(
        _ request: TFTPRequest, _ client: TFTPClient, now: Instant, into outbox: inout Outbox
    ) {
        if case .sending(let sending)? = transfers[client], sending.name == request.name {
            // The client repeats its request, because the first reply was late or lost.
            return advance(sending, client, into: &outbox) { $0.retransmit(now: now, $1) }
        }
        if case .opening(_, request)? = transfers[client] { return counters.ignored += 1 }
        guard request.mode == Array("octet".utf8) else {
            return refuse(client, .illegalOperation, "use mode octet", into: &outbox)
        }
        guard let path = BootFileName.path(request.name) else {
            return refuse(client, .accessViolation, "no name of a file in the directory", into: &outbox)
        }
        // Another request from the same port ends the transfer there.
        transfers[client] = nil
        guard transfers.count < Self.maximumTransfers, hasRoom(client) else { return counters.ignored += 1 }
        guard transfers.keys.count(where: { $0.address == client.address }) < Self.maximumTransfersOfGuest else {
            return refuse(client, .notDefined, "too many transfers at a time", into: &outbox)
        }
        nextNumber &+= 1
        transfers[client] = .opening(nextNumber, request)
        outbox.opens.append((nextNumber, path))
    }

    /// Whether the client's port has fewer transfers than are free.
    private func hasRoom(_ client: TFTPClient) -> Bool {
        transfers.keys.count { $0.ingress == client.ingress } < Self.maximumTransfers - transfers.count
    }

    private mutating func advance(
        _ transfer: TFTPTransfer<File>, _ client: TFTPClient, into outbox: inout Outbox,
        _ step: (inout TFTPTransfer<File>, (TFTPMessage) -> Void) -> TFTPTransfer<File>.Progress
    ) {
        var transfer = transfer
        var messages: [TFTPMessage] = []
        let progress = step(&transfer) { messages.append($0) }
        outbox.messages += messages.map { ($0, client) }
        switch progress {
        case .goesOn: transfers[client] = .sending(transfer)
        case .finished:
            transfers[client] = nil
            counters.completed += 1
            let name = String(decoding: transfer.name, as: UTF8.self)
            outbox.notes.append("\(client.address) has loaded '\(name)', \(transfer.file.size) bytes")
        case .failed:
            transfers[client] = nil
            counters.failed += 1
            let name = String(decoding: transfer.name, as: UTF8.self)
            outbox.notes.append("\(client.address) has not loaded '\(name)': no acknowledgement, or the file changed")
        }
    }

    private mutating func refuse(
        _ client: TFTPClient, _ code: TFTPErrorCode, _ text: String, into outbox: inout Outbox
    ) {
        counters.refused += 1
        outbox.messages.append((.error(code.rawValue, text: Array(text.utf8)), client))
        outbox.notes.append("refused \(client.address): \(text)")
    }
}
