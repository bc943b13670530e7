// SPDX-License-Identifier: Apache-2.0
@testable import NetworkReports
import Logging
import NetworkModel
import Platform
import Testing
import Timing
import Wire

@Suite struct EgressLogTests {
    private let guest = MACAddress(0x5254_0000_0001), other = MACAddress(0x5254_0000_0002)
    private let start = Instant(nanoseconds: 1_000_000_000)

    private func refusals(_ hardware: MACAddress, _ ports: Range<UInt16>) -> [EgressRefusal] {
        ports.map {
            EgressRefusal(
                hardware: hardware, address: .ipv4(IPv4Address("198.51.100.3")!), transport: "tcp", port: $0)
        }
    }

    @Test func eachGuestHasItsLines() {
        let recorder = LineRecorder()
        var log = EgressLog(logger: Logger(label: "test") { _ in recorder })
        log.log(refusals(guest, 0..<16), [guest: 7], now: start) { _ in nil }
        log.log(refusals(guest, 0..<16), [:], now: start + .seconds(1)) { _ in nil }
        log.log(refusals(other, 80..<81), [:], now: start + .seconds(2)) { _ in "web" }
        #expect(recorder.lines.count == 11)
        #expect(recorder.lines.last == "egress refused: \(other) (web): tcp to 198.51.100.3 port 80")
        log.log(refusals(other, 80..<81), [:], now: start + .seconds(70)) { _ in "web" }
        #expect(recorder.lines[11] == "egress refused: 19 further times to \(guest) (web)")
        #expect(recorder.lines.count == 13, "a new minute has the other's line again")
    }

    @Test func forgedAddressesAreBounded() {
        let recorder = LineRecorder()
        var log = EgressLog(logger: Logger(label: "test") { _ in recorder })
        for number in 0..<5000 {
            log.log(refusals(MACAddress(UInt64(number)), 80..<81), [:], now: start) { _ in nil }
        }
        #expect(recorder.lines.count == 600)
    }

    @Test func textOfUntrustedNamesIsPrintable() {
        let refusal = EgressRefusal(hardware: nil, name: "a\u{1b}[2J.example", transport: "dns")
        #expect(EgressLog.text(refusal) { _ in nil } == "an unknown guest: the name a?[2J.example")
    }
}

private final class LineRecorder: LogHandler, @unchecked Sendable {
    private let recorded = Mutex<[String]>([])
    var lines: [String] { recorded.withLock { $0 } }
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { recorded.withLock { $0.append("\(event.message)") } }
}
