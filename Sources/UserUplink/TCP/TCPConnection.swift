// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

// Theory of operation
// ===================
//
// A guest's TCP connection is terminated here, and continued by a socket of this host: two connections, spliced. The
// side towards the guest is a TCP of this program, in this folder; the side towards the outside is the kernel's.
// Nothing of the guest's connection is visible outside, and nothing of the outside's but its bytes, its end and its
// errors reaches the guest. Sequence numbers, options and losses belong to one side each.
//
//     TCPRelay        all connections: table, timers, socket events, published ports, memory
//     TCPConnection   one connection: states, both byte streams
//     TCPSender       host -> guest: windows, retransmission, congestion control   (pure arithmetic)
//     TCPReceiver     guest -> host: reordering, advertised window                 (pure arithmetic)
//     NameCheck       holds what the guest sends until its names are checked
//     StreamBuffer    the bytes of one direction, a ring of 16 KiB to 1 MiB; no memory before the first byte
//
// States and events
// -----------------
//
//  state        entered when              segment of the guest          socket                     timer
//  connecting   the guest's SYN came;     RST: closed                   writable: SYN-ACK,         75 s: closed
//               connect(2) is under way   others are ignored            -> synReceived
//                                                                       error: ICMP, RST or
//                                                                       nothing (ConnectFailure),
//                                                                       closed
//               with a proxy, its         as above                      writable: dialogue with    30 s: RST, closed
//               dialogue (ProxyHandshake)                               the proxy, then SYN-ACK
//  synSent      a client connected to a   SYN-ACK: ACK, -> established  -                          SYN at once, again
//               published port            RST: client reset, closed                                after 2 s, doubling;
//                                         wrong ACK: RST                                           closed after 6 SYNs;
//                                                                                                  no sign of the guest
//                                                                                                  in 2.8 s: closed
//  synReceived  SYN-ACK sent              ACK: -> established           -                          SYN-ACK again after
//                                         RST: closed                                              1 s, doubling; RST,
//                                         SYN: SYN-ACK again                                       closed after 6 more
//                                         wrong ACK: RST
//  established  the handshake is done     RST: closed; others below     readable, writable         see below
//  timeWait     both FINs are sent and    ACK again; RST: closed;       closed                     1 s: closed
//               acknowledged              a SYN begins a new connection
//  closed       -                         -                             -                          the relay removes it
//                                                                                                  after this poll
//
// The guest gets its SYN-ACK only after the outside has accepted, so that a refused connection looks refused. The
// half-closed states of RFC 9293 are flags within `established`, one pair for each direction:
//
//     FIN from the guest     receiver.isFinReceived   then, with toSocket empty, shutdown(2): hasShutDownSocket
//     end of the socket      isSocketAtEnd            a FIN goes after the last byte; acknowledged: isFinAcked
//
//     CLOSE-WAIT is isFinReceived without isSocketAtEnd. Without isFinReceived, FIN-WAIT-1 is isSocketAtEnd, and
//     FIN-WAIT-2 isFinAcked as well. CLOSING and LAST-ACK are isFinReceived and isSocketAtEnd, until isFinAcked.
//     isFinAcked and hasShutDownSocket lead to timeWait, whichever side ended first. A reset of the outside is passed
//     on as RST, after what was received before it has been delivered.
//
// What is acknowledged when
// -------------------------
//
// Data is acknowledged when it is in the socket or in `toSocket`, not when the remote host has it. After a reset of the
// outside it is acknowledged and dropped. An ACK goes with data if there is any; otherwise, at the end of a poll:
//
//     a second full-sized segment, a short one, anything out of order, a window probe                 at once
//     a FIN with data, or after this side's own                                                       at once
//     an RST, SYN or acknowledgment that may not be the guest's (RFC 5961)         at once, ten times in 5 s
//     a keep-alive probe                                                       when the outside has answered it
//     one full-sized segment in order                                                                 within 1 ms
//     a FIN without data before this side's own                   within 5 ms, to go with this side's own FIN
//     less than half of the window, and of 32 KiB, was left, and half is free again                   at once
//
// Flow control, end to end
// ------------------------
//
// guest -> outside: segments of 8 KiB and more go to the socket right away, if nothing waits; others are collected in
// `toSocket`, and go at the end of the poll or from 64 KiB on. What the socket does not take stays there. The
// advertised window is the rest of `window`, which grows up to 1 MiB with what the guest sends in a second
// (ReceiveWindow), at most 65,535 bytes if the guest does not scale windows. A remote host that does not read thereby
// stops the guest. The memory budget is charged for the window before the guest is promised it, so that nothing within
// it is dropped for lack of memory.
// outside -> guest: `toGuest` keeps all bytes from SND.UNA on. While it is full the socket is not watched for reading,
// the kernel's buffer fills, and the remote host stops. The buffer grows only if more than half of it is in flight.
//
// Timers
// ------
//
//     retransmitDeadline   RFC 6298 in TCPSender; RTO 200 ms to 60 s; after 15 expiries in a row, the next one resets
//     checkDeadline        the beginning of a stream, whose names are checked, is complete; else reset
//     ackDeadline          delayed ACK, and an ACK that is due at the end of this poll
//     timer, handshake     connect timeout, SYN and SYN-ACK retransmission
//     presenceDeadline     the next look for the guest of a published port (GuestPresence)
//     timer, idle          keep-alive (RFC 9293 section 3.8.4): a probe after 480 s without an ACK of the guest, and
//                          10 more 400 ms, 800 ms and so on up to 15 s apart; then reset, after 580 s
//     outsideProbe         the answer of the outside to a keep-alive probe of the guest (OutsideProbe)
//     timer, no window     persist (RFC 9293 section 3.8.6.1): after 200 ms, doubling up to 5 s, without limit while
//                          the guest answers; 10 probes in a row without an answer, then reset
//     timer, timeWait      1 s instead of 2 MSL: both ends of the path are on this host
//
// The persist probe is an ACK with an old sequence number, as a keep-alive is: it carries no data, so a guest that
// closed its window need not drop any.
//
// For memory, polls and fairness see TCPRelay.

/// A TCP connection of a guest, terminated here and spliced with a socket of this host.
///
/// Not thread-safe: the thread that serves the relay holds its lock.
final class TCPConnection {
    enum State {
        /// connect(2) is under way on behalf of a guest that has sent a SYN.
        case connecting
        /// Inbound connection from a published port: a SYN was sent to the guest.
        case synSent
        /// The guest's SYN was answered with a SYN-ACK that it has not acknowledged.
        case synReceived
        /// Data flows; one direction may have ended.
        case established
        /// Both directions have ended; repeated segments of the guest are acknowledged once more.
        case timeWait
        /// The relay removes it.
        case closed
    }

    /// Rcv.Wind.Shift (RFC 7323 section 2): a window of 1 MiB is advertised in units of 128 bytes.
    static let receiveWindowScale: UInt8 = 7
    /// How long connect(2) may take (the user timeout of a SYN, RFC 9293 section 3.8.3).
    static let connectTimeout = TimeAmount.seconds(75)
    /// SYNs or SYN-ACKs that are sent again before the guest counts as gone.
    static let maximumHandshakeRetransmits = 6
    /// The RTO of a handshake, before any measurement (RFC 6298 section 2.1).
    static let initialRTO = TimeAmount.seconds(1)
    /// ACKs in a `challengePeriod` in answer to segments that may not be the guest's (RFC 5961 section 7).
    static let maximumChallenges = 10
    static let challengePeriod = TimeAmount.seconds(5)
    /// A SYN with fewer hops goes out with them less one: nothing but traceroute sends it.
    static let probeHops: UInt8 = 32
    static let timeWaitDuration = TimeAmount.seconds(1)
    /// A guest that has sent nothing for this long gets keep-alive probes (RFC 9293 section 3.8.4). With them, a guest
    /// that is gone loses its connection after 580 s.
    static let keepAliveIdle = TimeAmount.seconds(480)
    static let maximumProbes = 10
    /// Upper bound of the keep-alive probe interval.
    static let maximumProbeInterval = TimeAmount.seconds(15)
    /// Upper bound of the zero-window probe interval. Kept short because the guest's window update may be lost.
    static let maximumPersistInterval = TimeAmount.seconds(5)
    /// How long the ACK of a FIN may be delayed so that this side's own FIN can go with it.
    static let finDelay = TimeAmount.milliseconds(5)
    /// How long the ACK of a single full-sized segment may be delayed (RFC 9293 section 3.8.6.3 allows 500 ms).
    static let delayedAckTimeout = TimeAmount.milliseconds(1)
    /// Payloads of at least this many bytes are sent to the socket without a copy.
    static let directSendThreshold = 8 << 10

    var endpoints: TCPEndpoints
    /// The guest to charge for memory.
    let owner: GuestOwner
    var state: State
    /// Owned; nil after it was closed.
    var socket: Descriptor?
    /// The socket's number, for the poller.
    let raw: Int32

    var sender: TCPSender
    var receiver: TCPReceiver
    /// The stream to the guest, from SND.UNA on.
    var toGuest = StreamBuffer()
    /// What the socket has not taken yet; after `count`, what was received out of order.
    var toSocket = StreamBuffer()
    /// The receive window of the guest, charged to the budget: `toSocket` and the advertised window fit in it.
    var window = ReceiveWindow()
    /// Snd.Wind.Shift, the guest's; nil if windows are not scaled in either direction.
    var sendWindowScale: UInt8?
    var sackPermitted = false
    /// ISS: the sequence number of this side's SYN.
    let iss: UInt32

    /// The socket's send buffer is full.
    var isSocketBlocked = false
    /// The socket delivers nothing more.
    var isSocketAtEnd = false
    /// The socket has failed or was reset; the guest gets a RST instead of a FIN.
    var isSocketReset = false
    /// The SYN went out with few hops, and errors about it are kept, until the outside has accepted.
    var isProbe = false
    /// The guest has acknowledged this side's FIN.
    var isFinAcked = false
    /// The guest's FIN was passed on to the socket.
    var hasShutDownSocket = false

    /// The dialogue with the proxy, before the guest gets its SYN-ACK; nil without a proxy.
    var proxy: ProxyHandshake?
    /// Holds what the guest sends until its names are checked; nil if all of it may go on.
    var check: NameCheck?
    /// Bytes of `toSocket` that may go on while `check` holds the others.
    var cleared = 0
    /// When the bytes that `check` holds must be complete.
    var checkDeadline = Instant.distantFuture

    /// When an ACK is due; nil if the guest has been sent everything.
    var ackDeadline: Instant?
    /// RCV.NXT as it was last sent to the guest.
    var lastAckSent: UInt32 = 0
    /// SND.WL1: the sequence number of the segment that the guest's window was taken from.
    var windowSequence: UInt32 = 0
    /// The second since which `challenges` are counted.
    var challengeStart = CoarseInstant.distantPast
    var challenges = 0
    /// The memory budget refused to let `toGuest` grow; cleared every second.
    var isOverBudget = false
    /// Zero-window probes since the window was last open.
    var zeroWindowProbes = 0
    /// Retransmissions of the handshake, or probes that the guest has not answered.
    var retries = 0
    /// The timer of handshake, keep-alive, persist and TIME-WAIT, of which one is needed at a time.
    var timer: Instant
    /// A probe of the outside for which the guest waits; nil if there is none.
    var outsideProbe: OutsideProbe?
    /// Whether the guest of a published port is there; nil if that is known.
    var presence: GuestPresence?

    var isClosed: Bool { state == .closed }
    var isEstablished: Bool { state == .established }
    var isInTimeWait: Bool { state == .timeWait }

    /// Whether an ICMP error for a segment refuses the connection: it was the SYN.
    func isRefused(at sequence: UInt32) -> Bool { state == .synSent && sequence == iss }

    /// Begins a connection for a guest.
    /// - Parameters:
    ///   - socket: on its way to the guest's destination.
    ///   - syn: the guest's SYN.
    init(
        _ endpoints: TCPEndpoints, of owner: GuestOwner, connecting socket: consuming Descriptor,
        syn: borrowing TCPView, _ context: borrowing TCPContext
    ) {
        self.endpoints = endpoints
        self.owner = owner
        raw = socket.raw
        self.socket = consume socket
        state = .connecting
        iss = Random.value()
        receiver = TCPReceiver(rcvNxt: syn.sequence &+ 1)
        sender = TCPSender(sndUna: iss, window: 0, smss: 1, sackPermitted: false)
        timer = context.now + TCPConnection.connectTimeout
        negotiate(syn, context)
    }

    /// Begins a connection to a guest, for a client of a published port. The SYN goes out when the timer is served.
    init(
        _ endpoints: TCPEndpoints, of owner: GuestOwner, acceptedFrom socket: consuming Descriptor,
        _ context: borrowing TCPContext
    ) {
        self.endpoints = endpoints
        self.owner = owner
        raw = socket.raw
        self.socket = consume socket
        state = .synSent
        iss = Random.value()
        receiver = TCPReceiver(rcvNxt: 0)
        sender = TCPSender(sndUna: iss, window: 0, smss: 1, sackPermitted: false)
        timer = context.now
        presence = GuestPresence(context.now)
    }

    /// Bytes of payload in the longest segment that fits the guests' link.
    func maximumSegmentSize(_ context: borrowing TCPContext) -> Int {
        min(
            IPv4Header.maximumPacket - IPv4Header.length - TCPHeader.length,
            context.mtu - endpoints.ipHeaderLength - TCPHeader.length)
    }

    /// Settles what both sides support, from the guest's SYN.
    func negotiate(_ segment: borrowing TCPView, _ context: borrowing TCPContext) {
        let options = TCPOptions(segment)
        let longest = maximumSegmentSize(context)
        sendWindowScale = options.windowScale
        sackPermitted = options.permitsSelective
        windowSequence = segment.sequence
        // 0 is no size.
        let offered = options.maximumSegment.map(Int.init) ?? 0
        // The window of a SYN is never scaled. The default MSS is 536, or 1220 (RFC 9293 section 3.7.1).
        sender = TCPSender(
            sndUna: iss &+ 1, window: Int(segment.window),
            smss: min(longest, offered > 0 ? offered : endpoints.isIPv6 ? 1220 : 536),
            sackPermitted: sackPermitted)
    }
}
