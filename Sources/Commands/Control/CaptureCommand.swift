// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Capture
import ControlProtocol
import ControlSocket
import Lifecycle
import Platform
import Timing
import Wire

/// `vde_vmnet capture`: the frames of a network in a file, or in a pipe to a program that shows them.
package struct CaptureCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "capture",
        abstract: "Write the frames that enter and leave the ports of a network to a file or a pipe.",
        discussion: """
            The format is pcapng, which Wireshark and tcpdump read:

              vde_vmnet capture -w - | wireshark -k -i -
              vde_vmnet capture --guest web --filter 'tcp port 80' -w web.pcapng

            Without --port and --guest, all ports are captured: a frame is there as it enters the switch, and again as \
            it leaves by each port. The interface of a frame is the port's, its direction is that of the switch: \
            inbound into it. Dropped frames have the reason as a comment. A frame that is still to be segmented is \
            longer than the MTU. On a network that root started, captures are root's, unless it was started with \
            --control-allow capture.
            """)

    @OptionGroup var network: NamedNetworkOptions

    @Option(
        help: ArgumentHelp("Capture this port: its number in vde_vmnet port list, or uplink.", valueName: "port"),
        completion: Completions.capturedPorts)
    var port: String?

    @Option(
        help: ArgumentHelp(
            "Capture the port of this guest, also when the guest gets another one: a name or a hardware address.",
            valueName: "name|mac"),
        completion: Completions.guests)
    var guest: String?

    @Option(
        help: ArgumentHelp(
            "Capture frames that match this expression only; see pcap-filter(7). Needs libpcap.",
            valueName: "expression"))
    var filter: String?

    @Option(
        name: [.customShort("w"), .customLong("write")],
        help: ArgumentHelp(
            "Write to this file, or to standard output (-). (default: standard output, unless it is a terminal)",
            valueName: "file|-"),
        completion: .file())
    var file: String?

    @Option(
        help: ArgumentHelp("Bytes of each frame to capture, 64 to 262144. (default: all)", valueName: "bytes"),
        transform: Int.parse)
    var snaplen: Int?

    @Option(
        help: ArgumentHelp("End after this many frames. (default: on Ctrl-C)", valueName: "frames"),
        transform: Int.parse)
    var count: Int?

    package init() {}

    package func validate() throws {
        if let snaplen, !(64...262_144).contains(snaplen) {
            throw ValidationError("--snaplen: \(snaplen) is not between 64 and 262144 bytes")
        }
        if let count, !(1...Int(Int32.max)).contains(count) {
            throw ValidationError("--count: \(count) is not between 1 and \(Int32.max) frames")
        }
        if let port, port != "uplink", Int(port) == nil {
            throw ValidationError(
                "--port: '\(PrintableText.line(port))' is neither a port's number nor uplink; use --guest for a guest")
        }
        if port != nil, guest != nil {
            throw ValidationError("--port and --guest cannot be used together: each selects the port to capture")
        }
        if file == "" { throw ValidationError("-w needs a file, or - for standard output") }
    }

    package func run() throws {
        let params = try makeParameters()
        SignalPipe.ignore(Signal.pipe)
        let connection = try network.connect()
        try CaptureOutput.check(file)
        let signals = try orUnavailable { () throws(SystemError) in
            try SignalPipe([Signal.interrupt, Signal.terminate, Signal.hangup])
        }
        _ = try connection.call("capture", params)
        // Not before there is something to write: a refused capture leaves no file.
        let output = try CaptureOutput(file)
        var transfer = CaptureTransfer(connection, output, signals)
        try transfer.run()
    }

    private func makeParameters() throws(ExitError) -> [(String, JSON)] {
        var params: [(String, JSON)] = []
        if let port { params.append(("port", Int(port).map { .integer($0) } ?? .string(port))) }
        if let guest { params.append(("guest", .string(guest))) }
        if let snaplen { params.append(("snaplen", .integer(snaplen))) }
        if let count { params.append(("count", .integer(count))) }
        if let filter { params.append(("filter", .string(Base64.text(try compiled(filter).bytes)))) }
        return params
    }

    /// How long libpcap may take for a filter.
    private static let compilerTimeout = TimeAmount.seconds(10)

    private func compiled(_ expression: String) throws(ExitError) -> FilterProgram {
        let limit = FilterProgram.maximumLength
        let instructions: [FilterCompiler.Instruction]
        do throws(FilterCompiler.Failure) {
            instructions = try FilterCompiler.compile(
                expression, snapLength: 262_144, limit: limit, timeout: CaptureCommand.compilerTimeout)
        } catch {
            switch error {
            case .noLibrary:
                throw ExitError(
                    .unavailable,
                    """
                    --filter needs libpcap, which is not installed (Debian: apt install libpcap0.8); or capture \
                    everything, and filter in the program that reads the file
                    """)
            case .tooLong:
                throw ExitError(
                    .usage, "--filter: the expression makes more than \(limit) instructions; use a shorter one")
            case .tooSlow:
                throw ExitError(
                    .usage,
                    """
                    --filter: libpcap has not compiled the expression within \(CaptureCommand.compilerTimeout); use a \
                    shorter one, such as net 192.0.2.0/24 in place of many hosts, or capture everything, and filter \
                    in the program that reads the file
                    """)
            case .wrong(let reason):
                throw ExitError(
                    .usage,
                    """
                    --filter '\(PrintableText.line(expression))': \(PrintableText.line(reason)); see pcap-filter(7)
                    """)
            case .system: throw ExitError(.unavailable, "--filter: there is no memory for libpcap")
            }
        }
        do throws(FilterProgram.Refusal) {
            return try FilterProgram(
                instructions.map { FilterProgram.Instruction($0.code, $0.jumpTrue, $0.jumpFalse, $0.constant) })
        } catch {
            throw ExitError(.usage, "--filter: \(error); write the expression in another way")
        }
    }
}

/// Copies a capture from the network to its output, until one of them or a signal ends it.
struct CaptureTransfer {
    /// How long the network may send nothing while it is to send the last blocks.
    private static let closingTimeout = TimeAmount.seconds(5)

    private let connection: ControlConnection
    private let output: CaptureOutput
    private let signals: SignalPipe
    /// Frames that the output has.
    private var written = 0

    init(_ connection: ControlConnection, _ output: CaptureOutput, _ signals: SignalPipe) {
        self.connection = connection
        self.output = output
        self.signals = signals
    }

    private enum End { case byNetwork, bySignal, noReader, silent }

    mutating func run() throws(ExitError) {
        var splitter = PcapngSplitter()
        var deadline = Instant.distantFuture
        do throws(ExitError) {
            let end = try copy(&splitter, &deadline)
            report(splitter)
            guard end != .silent else {
                throw ExitError(
                    .unavailable,
                    """
                    the network has sent nothing for \(CaptureTransfer.closingTimeout), so the last frames and the \
                    counters are missing; is its process stopped?
                    """)
            }
            // The network sends the counters last.
            if end == .byNetwork, splitter.statistics.isEmpty {
                throw ExitError(
                    .unavailable,
                    "the network has ended without finishing the capture, which has what came before; start it again")
            }
        } catch {
            if error.status == .ioError { report(splitter) }
            throw error
        }
    }

    private func report(_ splitter: PcapngSplitter) {
        let lost = splitter.lost
        let rest = lost == 0 ? "" : "; \(lost) more were lost, because they came faster than they were written"
        StandardOutput.writeError(
            "vde_vmnet: \(written) \(written == 1 ? "frame" : "frames") captured\(rest)\n")
    }

    private mutating func copy(_ splitter: inout PcapngSplitter, _ deadline: inout Instant) throws(ExitError) -> End {
        let poller = try orUnavailable { () throws(SystemError) in
            let poller = try Poller()
            try poller.add(connection.raw, token: 0, for: .readable)
            try poller.add(signals.descriptor, token: 1, for: .readable)
            // To notice that the reader of a pipe has gone. Files cannot be watched.
            try? poller.add(output.raw, token: 2, for: [])
            return poller
        }
        var signalled = 0
        while true {
            guard let bytes = try received() else {
                let now = BootClock.now
                guard now < deadline else { return .silent }
                let count = poller.wait(until: deadline, now: now)
                if (0..<count).contains(where: { poller.event($0).token == 2 }) { return .noReader }
                note(signals.received().count, &signalled, &deadline)
                if signalled > 1 { return .bySignal }
                continue
            }
            if bytes.isEmpty { return signalled > 0 ? .bySignal : .byNetwork }
            if signalled > 0 { deadline = BootClock.now + CaptureTransfer.closingTimeout }
            let whole: [UInt8]
            do throws(PcapngSplitter.Malformed) {
                whole = try splitter.append(bytes)
            } catch {
                throw ExitError(.unavailable, "\(connection.path) sends no pcapng; is it a vde_vmnet of this version?")
            }
            let outcome = try output.write(whole) {
                note(signals.received().count, &signalled, &deadline)
                return signalled > 1 || BootClock.now >= deadline
            }
            switch outcome {
            case .written: written = splitter.frames
            case .noReader: return .noReader
            case .stuck: return .bySignal
            }
            note(signals.received().count, &signalled, &deadline)
        }
    }

    /// The first signal ends the capture, and its last blocks still come; the second one ends this program.
    private func note(_ count: Int, _ signalled: inout Int, _ deadline: inout Instant) {
        guard count > 0 else { return }
        if signalled == 0 {
            connection.finishSending()
            deadline = BootClock.now + CaptureTransfer.closingTimeout
        }
        signalled += count
    }

    private func received() throws(ExitError) -> [UInt8]? {
        do throws(ControlConnection.Failure) {
            return try connection.receiveBytes()
        } catch {
            guard case .unreachable(let reason) = error, reason.code == Errno.reset else { throw error.exitError }
            return []
        }
    }
}
