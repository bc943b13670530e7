// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Lifecycle
import Logging
import NetworkModel
import Platform
import Switching
import Timing
import Wire

/// The gateway's port 69, without a socket on it: serves the files of one directory by TFTP, to guests with a lease.
///
/// # Theory of operation
///
///     guest --UDP--> switch --frame--> BootFileServer --message--> TFTPServer --Outbox--> BootFileServer
///     Outbox.opens    --> FileOpener (a process of the caller) --descriptor--> TFTPServer.opened
///     Outbox.messages --> SwitchControl.sendBootReply --> guest
///
/// `StateMachines/` has no clock, no file and no socket. This class runs on the control thread; the opening of a file,
/// which may take long, is the other process's. Reading is not: the file is read as the client acknowledges, 24 kB at a
/// time at most.
package final class BootFileServer {
    /// Datagrams that are handled before other work of this thread.
    private static let burst = 64

    private let guests: GuestNetwork
    private let hardware: MACAddress
    private let directory: BootDirectory
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    private var server: TFTPServer<OpenBootFile>
    private var timer: ControlLoop.TimerID?
    /// Files to open that the process was not yet requested to open, and how many it was.
    private var queue: [(number: UInt32, path: [UInt8])] = []
    private var unanswered = 0
    private var isOpenerGone = false
    /// Whether a guest holds the lease on an address. Others get no reply.
    package var isHolder: (MACAddress, IPv4Address) -> Bool = { _, _ in false }

    /// - Parameters:
    ///   - hardware: the source of replies.
    ///   - mtu: bytes of the longest packet for guests.
    /// - Throws: `unavailable` without a free descriptor.
    package init(
        _ directory: BootDirectory, _ guests: GuestNetwork, hardware: MACAddress, mtu: Int, loop: ControlLoop,
        control: SwitchControl, logger: Logger
    ) throws(ExitError) {
        self.directory = directory
        self.guests = guests
        self.hardware = hardware
        self.loop = loop
        self.control = control
        self.logger = logger
        let headers = IPv4Header.length + UDPHeader.length + TFTPMessage.headerLength
        server = TFTPServer(
            largestBlock: min(mtu, ServiceFrameRing.maximumFrameLength - EthernetHeader.length) - headers)
        try orUnavailable { () throws(SystemError) in
            try loop.watch(directory.opener.socket.raw) { [unowned self] _ in receiveFiles() }
        }
        control.setBootService(BootService(address: guests.gateway))
    }

    /// Files that were sent, and requests that were not served.
    package var counters: TFTPServer<OpenBootFile>.Counters { server.counters }

    /// Stops to serve guests.
    package func close() {
        control.setBootService(nil)
        loop.cancel(timer)
        loop.unwatch(directory.opener.socket.raw)
    }

    // MARK: Datagrams

    /// Handles the datagrams that guests have sent since the last call, up to a bound.
    package func receive() {
        var outbox = TFTPServer<OpenBootFile>.Outbox()
        var isDone = false
        for _ in 0..<BootFileServer.burst {
            guard let (frame, port) = control.removeBootRequest() else {
                isDone = true
                break
            }
            receive(frame, from: port, into: &outbox)
        }
        if !isDone { control.notification.signal() }
        finish(&outbox)
    }

    private func receive(_ frame: [UInt8], from port: PortNumber, into outbox: inout TFTPServer<OpenBootFile>.Outbox) {
        guard let ethernet = try? EthernetView(frame.rawSpan), let packet = try? IPv4View(ethernet.payload),
            packet.hasValidChecksum, packet.destination == guests.gateway,
            let datagram = try? UDPView(packet.payload), datagram.sourcePort > 0,
            datagram.hasValidChecksum(source: packet.source, destination: packet.destination),
            isHolder(ethernet.source, packet.source)
        else { return }
        let client = TFTPClient(
            ingress: port, hardware: ethernet.source, address: packet.source, port: datagram.sourcePort)
        server.receive(datagram.payload, from: client, now: BootClock.now, into: &outbox)
    }

    /// Carries out the effects, and sets the timer.
    private func finish(_ outbox: inout TFTPServer<OpenBootFile>.Outbox) {
        queue += outbox.opens
        outbox.opens = []
        requestFiles(&outbox)
        for (message, client) in outbox.messages {
            let frame = UDPFrame(
                from: (hardware, guests.gateway, BootService.port), to: (client.hardware, client.address, client.port))
            // A message that finds no room is lost, and sent again after a timeout.
            control.sendBootReply(frame.bytes(payload: message.bytes))
        }
        for note in outbox.notes { logger.debug("boot files: \(PrintableText.line(note))") }
        loop.cancel(timer)
        timer = server.nextDeadline.map { due in
            loop.schedule(at: due) { [unowned self] in
                var outbox = TFTPServer<OpenBootFile>.Outbox()
                let now = BootClock.now
                server.retain { isHolder($0.hardware, $0.address) }
                server.tick(now: now, into: &outbox)
                finish(&outbox)
            }
        }
    }

    // MARK: Files

    private func requestFiles(_ outbox: inout TFTPServer<OpenBootFile>.Outbox) {
        while !queue.isEmpty, isOpenerGone || unanswered < FileOpener.maximumUnanswered {
            let (number, path) = queue.removeFirst()
            do throws(SystemError) {
                if isOpenerGone { throw SystemError(code: Errno.brokenPipe, "open") }
                try directory.opener.request(path, number: number)
                unanswered += 1
            } catch {
                server.opened(number, nil, refusal: refusal(error.code), now: BootClock.now, into: &outbox)
            }
        }
    }

    private func receiveFiles() {
        var outbox = TFTPServer<OpenBootFile>.Outbox()
        do throws(SystemError) {
            while let answer = try directory.opener.answer() {
                unanswered -= 1
                let number = answer.number, now = BootClock.now
                var code = -answer.code
                guard let file = answer.file() else {
                    server.opened(number, nil, refusal: refusal(code), now: now, into: &outbox)
                    continue
                }
                if let status = try? file.status(), status.kind == .regular {
                    server.opened(number, OpenBootFile(file, size: status.size), now: now, into: &outbox)
                } else {
                    code = Errno.accessDenied
                    server.opened(number, nil, refusal: refusal(code), now: now, into: &outbox)
                }
            }
        } catch {
            isOpenerGone = true
            loop.unwatch(directory.opener.socket.raw)
            server.refuseOpening(refusal(error.code), into: &outbox)
            logger.error(
                """
                the process that opens boot files has ended, so guests load no more files from \(directory.path); \
                restart vde_vmnet
                """
            )
        }
        finish(&outbox)
    }

    private func refusal(_ code: Int32) -> (TFTPErrorCode, String) {
        switch code {
        case Errno.noEntry, Errno.notDirectory: (.fileNotFound, "no such file")
        case Errno.nameTooLong: (.accessViolation, "the name is too long")
        case Errno.tooManyLinks: (.accessViolation, "it is a symbolic link")
        case Errno.accessDenied, Errno.isDirectory: (.accessViolation, "no regular file that may be read")
        default: (.notDefined, "the file cannot be opened")
        }
    }
}
