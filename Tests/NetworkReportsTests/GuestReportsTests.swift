// SPDX-License-Identifier: Apache-2.0
@testable import NetworkReports
import Logging
import Platform
import Switching
import Testing
import Timing
import Wire

@Suite struct GuestReportsTests {
    private final class Lines: @unchecked Sendable {
        let lines = Mutex<[String]>([])
    }

    private struct Handler: LogHandler {
        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) { lines.lines.withLock { $0.append("\(event.level) \(event.message)") } }
    }

    private let guest = MACAddress(0x5254_0000_0066), other = MACAddress(0x5254_0000_0077)

    @Test func offenceOfAPortIsReportedOnceInTenMinutes() {
        let lines = Lines()
        var reports = GuestReports(logger: Logger(label: "test") { _ in Handler(lines: lines) })
        let place = GuestReports.Location(name: "port 3 (qemu)", number: 3)
        func count() -> Int { lines.lines.withLock { $0.count } }
        let start = Instant(nanoseconds: 0) + .minutes(1)
        for second in 0..<100 as Range<Int64> {
            reports.log(
                second % 2 == 0 ? guest : other, at: 7, place, .routerAdvertisement,
                now: start + .seconds(second))
        }
        #expect(count() == 1)
        reports.log(guest, at: 7, place, .dhcp, now: start)
        reports.log(guest, at: 8, place, .dhcp, now: start)
        #expect(count() == 3)
        reports.log(guest, at: 7, place, .dhcp, now: start + .minutes(10))
        #expect(count() == 4)
        // Another guest has got the port.
        reports.forget(7)
        reports.log(guest, at: 7, place, .dhcp, now: start + .minutes(10))
        #expect(count() == 5 && lines.lines.withLock { $0.allSatisfy { $0.hasPrefix("warning ") } })
    }

    @Test func messagesNameTheGuestAndTheOption() {
        let here = GuestReports.Location(name: "port 3 (qemu)", number: 3),
            there = GuestReports.Location(name: "/tmp/vde", number: nil)
        for offence in GuestOffence.allCases {
            let own = GuestReports.message(guest, here, offence), joined = GuestReports.message(guest, there, offence)
            #expect(
                own.hasPrefix("a guest that sends as \(guest) at port 3 (qemu) ") && own.contains("dropped")
                    && own.contains("--allow-server 3 or --allow-server \(guest)") == offence.isServing)
            #expect(
                joined.hasPrefix("a guest that sends as \(guest) at /tmp/vde ")
                    && joined.contains("kept from this host"))
        }
        #expect(GuestReports.message(guest, here, .dhcp).contains("--dhcp off"))
    }
}
