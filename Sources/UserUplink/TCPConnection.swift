// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// A TCP connection of a guest's that ends here, and goes on from here by a socket of this host's: what one side says
/// is said to the other. Each side is told that something has arrived when we have it; what a side does not take is
/// held back, up to a bound, and then the other one is kept waiting.
final class TCPConnection {
    enum State {
        /// The socket is being connected; the guest waits for an answer.
        case reaching
        /// Somebody came by a published port; the guest was asked.
        case knocking
        /// The guest's question was answered, which it has not confirmed.
        case answering
        case open
        /// Over on both sides; what the guest repeats is confirmed once more.
        case lingering
        /// Nothing is left to do.
        case over
    }

    /// By how many bits the windows are shifted that we announce: one of 1 MiB is told to 128 bytes.
    static let windowScale: UInt8 = 7
    /// For a connection that nobody answers, RFC 9293 section 3.8.3.
    static let connectPatience = 75 * MonotonicClock.second
    static let handshakeAttempts = 6
    static let lingering = MonotonicClock.second
    /// A guest of which nothing was heard for so long is asked whether it is still there.
    static let silence = 600 * MonotonicClock.second
    static let probeAttempts = 10
    /// A guest without room is asked for it twice as late each time, up to this: what it says when it has some again
    /// may be lost.
    static let longestQuestionPause = 5 * MonotonicClock.second
    /// For so long the outside may answer the end of what a guest says with its own, and both are told in one frame.
    static let parting = 5 * MonotonicClock.millisecond
    /// For so long the next segment may come, and both are confirmed in one frame.
    static let patience = MonotonicClock.millisecond
    /// Bytes of a segment that may be options (RFC 9293 section 3.1).
    static let longestOptions = 40
    /// Payloads from this length on go to the socket from where they lie.
    static let directLength = 8 << 10

    var ends: TCPEnds
    var state: State
    /// None is left when only the guest may still have something to say.
    private var socket: Descriptor?
    let raw: Int32
    /// What the poller watches it for; nil for not at all. The owner's.
    var watched: Readiness?
    /// The earliest deadline that was noted for it. The owner's.
    var notedDeadline = UInt64.max
    /// It is in the list of those that have something to do at the end of the turn. The owner's.
    var isTouched = false

    var sending: TCPSending
    var receiving: TCPReceiving
    /// From the first byte on that the guest has not confirmed.
    var toGuest = StreamBuffer()
    /// What the socket has not taken yet, and behind that what came too early.
    var toSocket = StreamBuffer()
    /// By how many bits the guest shifts its windows; nil where neither side shifts.
    var guestScale: UInt8?
    var isSelective = false
    let initial: UInt32
    var isSocketFull = false
    /// The socket will say nothing more.
    var isSocketOver = false
    /// It has ended in a reset, which is what the guest will see.
    var isBroken = false
    /// The guest has confirmed that it will say nothing more.
    var endIsConfirmed = false
    var hasFinished = false
    /// When the guest is to be told what has come; nil if it knows.
    var confirmation: UInt64?
    /// Up to where it knows.
    var confirmed: UInt32 = 0
    /// There was no memory for more from the socket, and may be none for a while.
    var lacksMemory = false
    /// How often the guest was asked whether it has room, and had none.
    var vainQuestions = 0
    var attempts = 0
    var timer: UInt64

    var isOver: Bool { state == .over }
    var isLingering: Bool { state == .lingering }

    /// What a guest asks for.
    /// - Parameter socket: on its way to where the guest wants to go.
    init(
        _ ends: TCPEnds, reaching socket: consuming Descriptor, question: borrowing TCPView,
        _ surroundings: borrowing TCPSurroundings
    ) {
        self.ends = ends
        raw = socket.raw
        self.socket = consume socket
        state = .reaching
        initial = Random.value()
        receiving = TCPReceiving(next: question.sequence &+ 1)
        sending = TCPSending(first: initial, window: 0, segmentSize: 1, isSelective: false)
        timer = surroundings.now + TCPConnection.connectPatience
        agree(question, surroundings)
    }

    /// What somebody asks a guest for by a published port.
    init(_ ends: TCPEnds, knockingFrom socket: consuming Descriptor, _ surroundings: borrowing TCPSurroundings) {
        self.ends = ends
        raw = socket.raw
        self.socket = consume socket
        state = .knocking
        initial = Random.value()
        receiving = TCPReceiving(next: 0)
        sending = TCPSending(first: initial, window: 0, segmentSize: 1, isSelective: false)
        timer = surroundings.now
    }

    /// Bytes of payload of the longest segment that fits the guests' link.
    func longestSegment(_ surroundings: borrowing TCPSurroundings) -> Int {
        min(65_495, surroundings.mtu - ends.networkLength - 20)
    }

    /// Settles what both sides can do, from the guest's SYN.
    private func agree(_ segment: borrowing TCPView, _ surroundings: borrowing TCPSurroundings) {
        let options = TCPOptions(segment)
        let longest = longestSegment(surroundings)
        guestScale = options.windowScale
        isSelective = options.permitsSelective
        // The window of a SYN is never shifted. Without the option it is 536, or 1220 (RFC 9293 section 3.7.1).
        sending = TCPSending(
            first: initial &+ 1, window: Int(segment.window),
            segmentSize: max(64, min(longest, Int(options.maximumSegment ?? (ends.isIPv6 ? 1220 : 536)))),
            isSelective: isSelective)
    }

    // MARK: When its turn is

    /// When something is to be done though nothing has happened.
    var deadline: UInt64 {
        let next = min(timer, confirmation ?? .max)
        if state == .open, let deadline = sending.deadline { return min(deadline, next) }
        return next
    }

    /// What the poller is to watch the socket for; nil for not at all, which keeps what cannot be dealt with yet from
    /// coming again and again.
    var interest: Readiness? {
        switch state {
        case .reaching: return .writable
        case .open:
            var interest: Readiness = []
            if mayReceive { interest.insert(.readable) }
            if isSocketFull { interest.insert(.writable) }
            return interest.isEmpty ? nil : interest
        default: return nil
        }
    }

    // MARK: The socket

    /// Handles what the poller has reported.
    func socketReady(_ ready: Readiness, _ surroundings: inout TCPSurroundings) -> Int32 {
        switch state {
        case .reaching:
            // A failure is a hang-up as well.
            if ready != .writable, let error = socket?.pendingError, error != 0 { return error }
            if !ready.contains(.writable) { return 0 }
            state = .answering
            attempts = 0
            answer(&surroundings)
        case .open:
            if !ready.isDisjoint(with: [.readable, .hangup]) && mayReceive { receive(&surroundings) }
            if !ready.isDisjoint(with: [.writable, .hangup]) { isSocketFull = false }
        default:
            break
        }
        return 0
    }

    /// More is taken from the socket only as fast as the guest takes it.
    var mayReceive: Bool {
        if isSocketOver { return false }
        if toGuest.count < toGuest.capacity || toGuest.capacity < StreamBuffer.smallest { return true }
        return !lacksMemory && toGuest.capacity < StreamBuffer.largest && sending.sent * 2 > toGuest.capacity
    }

    func receive(_ surroundings: inout TCPSurroundings) {
        // What has been there once is not to starve the others.
        for _ in 0..<4 {
            if toGuest.count == toGuest.capacity {
                guard mayReceive else { return }
                lacksMemory = toGuest.reserve(toGuest.capacity + 1, &surroundings.memory) == toGuest.count
                if lacksMemory { return }
            }
            let room = toGuest.capacity - toGuest.count
            let received = toGuest.receive(from: raw)
            if received == 0 {
                isSocketOver = true
            } else if received < 0, received != -Int(Errno.interrupted), isBroken || received != -Int(Errno.again) {
                isSocketOver = true
                isBroken = true
            }
            // Less than there was room for: that was all.
            if received < room { return }
            output(&surroundings)
        }
    }

    /// Sends the guest's bytes on.
    func drain(_ surroundings: inout TCPSurroundings) {
        if toSocket.count > 0 && !isSocketFull && !isBroken {
            switch toSocket.send(to: raw) {
            case 0: break
            case Errno.again: isSocketFull = true
            default: breakOff(&surroundings)
            }
        }
        if receiving.isOver && toSocket.count == 0 && !hasFinished {
            hasFinished = true
            socket?.finishSending()
        }
    }

    /// The outside does not take anything any more. What has come from there before still goes to the guest, what the
    /// socket holds of it included.
    private func breakOff(_ surroundings: inout TCPSurroundings) {
        isBroken = true
        toSocket.clear(&surroundings.memory)
    }

    /// Gives the socket back, which is not watched any more.
    func closeSocket() { socket = nil }

    func resetSocketWhenClosed() { socket?.resetWhenClosed() }

    // MARK: The guest

    /// Handles a segment of the guest's, whose checksum was looked at.
    func receive(_ segment: borrowing TCPView, from hardware: MACAddress, _ surroundings: inout TCPSurroundings) {
        ends.hardware = hardware
        let flags = segment.flags
        switch state {
        case .reaching:
            if flags.contains(.rst) { end(&surroundings) }
            return
        case .knocking:
            guard flags.contains(.ack) else { return }
            // It knows of an earlier connection, which it has to forget first (RFC 9293 section 3.10.7.3).
            guard segment.acknowledgment == initial &+ 1 else { return surroundings.reset(segment, ends) }
            if flags.contains(.rst) { return end(&surroundings) }
            guard flags.contains(.syn) else { return }
            receiving = TCPReceiving(next: segment.sequence &+ 1)
            agree(segment, surroundings)
            open(&surroundings)
            confirmation = surroundings.now
            return
        case .over:
            return
        case .answering, .open, .lingering:
            break
        }
        let place = segment.sequence.distance(after: receiving.next)
        if flags.contains(.rst) {
            // A reset counts where it can be the guest's (RFC 5961 section 3 is stricter, but here nobody else can send
            // one).
            if place >= 0 && place <= max(1, receiving.announced) { end(&surroundings) }
            return
        }
        if flags.contains(.syn) {
            if state == .answering { answer(&surroundings) } else { confirmation = surroundings.now }
            return
        }
        guard flags.contains(.ack) else { return }
        if state == .answering {
            guard segment.acknowledgment == initial &+ 1 else { return surroundings.reset(segment, ends) }
            open(&surroundings)
        }
        let length = segment.payload.byteCount, isLast = flags.contains(.fin)
        hear(segment, isPlain: length == 0 && !isLast, &surroundings)
        if length == 0 && !isLast {
            // A question whether we are still there (RFC 9293 section 3.8.4).
            if place < 0 { confirmation = surroundings.now }
            return
        }
        if isOpen { accept(segment.payload, segment.sequence, isLast: isLast, &surroundings) }
        let mayPart = confirmation == nil && length == 0 && receiving.isOver && place == 0 && !isSocketOver
        confirmation = min(
            confirmation ?? .max,
            surroundings.now
                + (mayPart ? TCPConnection.parting : mayWait(length, place, surroundings) ? TCPConnection.patience : 0))
    }

    /// Every second segment of full length is confirmed at once, the one before it with it (RFC 9293 section 3.8.6.3):
    /// what else a guest sends it may be waiting with.
    private func mayWait(_ length: Int, _ place: Int, _ surroundings: borrowing TCPSurroundings) -> Bool {
        let full = longestSegment(surroundings) - TCPConnection.longestOptions
        return isOpen && place == 0 && length >= full && receiving.early.isEmpty && !receiving.isOver
            && receiving.next.distance(after: confirmed) < 2 * full
    }

    var isOpen: Bool { state == .open }

    /// What the guest has got, and room for.
    private func hear(_ segment: borrowing TCPView, isPlain: Bool, _ surroundings: inout TCPSurroundings) {
        if !isLingering {
            attempts = 0
            timer = surroundings.now + TCPConnection.silence
        }
        let window = Int(segment.window) << Int(guestScale ?? 0)
        switch sending.acknowledge(segment.acknowledgment, window: window, isPlain: isPlain, now: surroundings.now) {
        case .progress(let count):
            if count > toGuest.count { endIsConfirmed = true }
            toGuest.discard(min(count, toGuest.count))
        case .impossible: confirmation = surroundings.now
        case .old: break
        }
        if sending.window > 0 { vainQuestions = 0 }
        if isSelective && segment.headerLength > 20 { TCPOptions.selective(segment) { sending.note(arrived: $0, $1) } }
        sending.conclude(now: surroundings.now)
    }

    private func accept(_ payload: RawSpan, _ sequence: UInt32, isLast: Bool, _ surroundings: inout TCPSurroundings) {
        guard !isBroken else {
            _ = receiving.place(sequence, length: payload.byteCount, isLast: isLast, room: .max)
            return
        }
        let held = toSocket.count, offset = max(0, sequence.distance(after: receiving.next))
        // What lies beyond what was announced is not to take memory.
        guard offset <= receiving.announced else { return }
        let room =
            min(
                StreamBuffer.largest,
                toSocket.reserve(held + min(offset + payload.byteCount, receiving.announced), &surroundings.memory))
            - held
        guard let placement = receiving.place(sequence, length: payload.byteCount, isLast: isLast, room: room) else {
            return
        }
        var part = placement.part
        if held == 0 && placement.offset == 0 && part.count >= TCPConnection.directLength
            && placement.inOrder == part.count && receiving.early.isEmpty && !isSocketFull
        {
            let sent = payload.extracting(part).send(to: raw)
            if sent == part.count { return }
            if sent < 0 && sent != -Int(Errno.again) && sent != -Int(Errno.interrupted) {
                return breakOff(&surroundings)
            }
            isSocketFull = true
            part = part.lowerBound + max(0, sent)..<part.upperBound
            toSocket.write(payload.extracting(part), at: 0)
            toSocket.extend(part.count)
            return
        }
        toSocket.write(payload.extracting(part), at: held + placement.offset)
        toSocket.extend(placement.inOrder)
        // Much of it at once: there is no use in waiting for the end of the turn.
        if toSocket.count >= 64 << 10 { drain(&surroundings) }
    }

    private func open(_ surroundings: inout TCPSurroundings) {
        state = .open
        confirmed = receiving.next
        attempts = 0
        timer = surroundings.now + TCPConnection.silence
    }
}
