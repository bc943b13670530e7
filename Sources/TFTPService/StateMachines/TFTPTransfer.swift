// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// A file that is open for a transfer.
package protocol TFTPFile: AnyObject {
    /// Bytes, when it was opened.
    var size: Int { get }
    /// Up to `count` bytes from `offset` on: fewer at the end of the file. Nil if the file cannot be read.
    func read(at offset: Int, count: Int) -> [UInt8]?
}

/// The client's end of a transfer. The port is the client's transfer identifier (RFC 1350 section 4).
package struct TFTPClient: Hashable, Sendable {
    /// The port of the switch.
    package let ingress: UInt16
    /// Of the client.
    package let hardware: MACAddress
    /// Of the client.
    package let address: IPv4Address
    /// The UDP port of the client.
    package let port: UInt16

    /// See the properties.
    package init(ingress: UInt16, hardware: MACAddress, address: IPv4Address, port: UInt16) {
        self.ingress = ingress
        self.hardware = hardware
        self.address = address
        self.port = port
    }
}

/// What a client has negotiated (RFC 2347 to 2349, RFC 7440).
struct TFTPParameters: Equatable, Sendable {
    /// RFC 1350 section 2.
    static let usualBlockSize = 512
    /// RFC 2348.
    private static let blockSizes = 8...65_464
    /// RFC 2349, in seconds.
    private static let timeouts = 1...255
    /// RFC 7440 section 3.
    private static let windows = 1...65_535
    /// Blocks that are sent without an acknowledgement.
    static let largestWindow = 16

    var blockSize = TFTPParameters.usualBlockSize
    var window = 1
    /// The time until the first retransmission; nil if the client has chosen none.
    var timeout: TimeAmount?
    /// The options that the server accepts, with its values.
    var accepted: [TFTPOption] = []

    /// - Parameter largestBlock: bytes that fit into one packet.
    init(_ options: [TFTPOption], size: Int, largestBlock: Int) {
        var seen: [[UInt8]] = []
        for option in options where !seen.contains(option.name) {
            seen.append(option.name)
            guard let number = option.number else { continue }
            switch String(decoding: option.name, as: UTF8.self) {
            case "blksize" where TFTPParameters.blockSizes.contains(number):
                blockSize = min(number, largestBlock)
                accepted.append(TFTPOption("blksize", blockSize))
            case "timeout" where TFTPParameters.timeouts.contains(number):
                timeout = .seconds(Int64(number))
                accepted.append(option)
            case "tsize": accepted.append(TFTPOption("tsize", size))
            case "windowsize" where TFTPParameters.windows.contains(number):
                window = min(number, TFTPParameters.largestWindow)
                accepted.append(TFTPOption("windowsize", window))
            default: continue
            }
        }
    }
}

/// A transfer whose file is open. Blocks are counted without wrapping; the 16 bits of a message continue with 0 after
/// 65,535, as clients expect it of files above 32 MiB.
struct TFTPTransfer<File: TFTPFile> {
    /// Retransmissions without an acknowledgement between them.
    static var maximumRetransmissions: Int { 5 }
    /// The time until the first retransmission. It doubles with each, up to the longest.
    private static var firstTimeout: TimeAmount { .seconds(1) }
    private static var longestTimeout: TimeAmount { .seconds(8) }

    enum Progress: Equatable { case goesOn, finished, failed }

    let name: [UInt8]
    let file: File
    let parameters: TFTPParameters
    /// The last block that the client has. Block 0 is the acknowledgement of options, or nothing.
    private var acknowledged: Int
    /// The last block that was sent.
    private var sent: Int
    private var retransmissions = 0
    /// When to retransmit.
    private(set) var deadline: Instant

    init(_ request: TFTPRequest, _ file: File, largestBlock: Int, now: Instant) {
        name = request.name
        self.file = file
        parameters = TFTPParameters(request.options, size: file.size, largestBlock: largestBlock)
        acknowledged = parameters.accepted.isEmpty ? 0 : -1
        sent = acknowledged
        deadline = now
    }

    /// The last block: shorter than the others, and maybe empty.
    private var last: Int { file.size / parameters.blockSize + 1 }

    /// Sends what may be sent now: the accepted options, or the blocks of a window.
    mutating func send(now: Instant, _ output: (TFTPMessage) -> Void) -> Progress {
        let doubled = Self.firstTimeout * (1 << Int64(min(retransmissions, 8)))
        deadline = now + (parameters.timeout ?? min(doubled, Self.longestTimeout))
        if acknowledged < 0 {
            sent = 0
            output(.optionAcknowledgement(parameters.accepted))
            return .goesOn
        }
        for block in acknowledged + 1...min(acknowledged + parameters.window, last) {
            let offset = (block - 1) * parameters.blockSize
            let count = min(parameters.blockSize, file.size - offset)
            guard let contents = count == 0 ? [] : file.read(at: offset, count: count), contents.count == count else {
                output(.error(TFTPErrorCode.notDefined.rawValue, text: Array("the file has changed".utf8)))
                return .failed
            }
            output(.data(block: UInt16(truncatingIfNeeded: block), contents))
            sent = max(sent, block)
        }
        return .goesOn
    }

    /// Handles an acknowledgement. One that is not new has no effect (RFC 1123 section 4.2.3.1). One for a block within
    /// the window continues after that block (RFC 7440 section 4).
    mutating func acknowledge(_ block: UInt16, now: Instant, _ output: (TFTPMessage) -> Void) -> Progress {
        guard sent > acknowledged,
            let known = (acknowledged + 1...sent).first(where: { UInt16(truncatingIfNeeded: $0) == block })
        else { return .goesOn }
        acknowledged = known
        retransmissions = 0
        return known == last ? .finished : send(now: now, output)
    }

    /// The deadline has passed, or the client has repeated its request.
    mutating func retransmit(now: Instant, _ output: (TFTPMessage) -> Void) -> Progress {
        guard retransmissions < Self.maximumRetransmissions else { return .failed }
        retransmissions += 1
        return send(now: now, output)
    }
}
