// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Logging
import NetworkModel
import Platform
import Testing
import Timing
import Wire
@testable import Uplink

/// Log lines as they come.
private final class Lines: LogHandler, @unchecked Sendable {
    private let lines = Mutex<[String]>([])
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { lines.withLock { $0.append("\(event.level): \(event.message)") } }

    /// Those since the last call.
    func take() -> [String] {
        lines.withLock { lines in
            defer { lines = [] }
            return lines
        }
    }
}

@Suite struct PublishedGuestsTests {
    private let two = IPv4Address("192.168.105.2")!, three = IPv4Address("192.168.105.3")!
    private let one = MACAddress("52:54:00:00:00:01")!, other = MACAddress("52:54:00:00:00:02")!

    private func lease(
        _ address: IPv4Address, _ hardware: MACAddress, _ name: String? = nil, until: Int64 = 100
    ) -> Lease {
        Lease(
            address: address, client: ClientIdentity(hardware: hardware), hardware: hardware, hostName: "",
            name: name.flatMap { GuestName($0) }, expires: .distantPast + .seconds(until))
    }

    @Test func publishedPortFollowsHardwareAddressAcrossLeases() throws {
        let lines = Lines()
        var led: [[String]] = []
        let guests = PublishedGuests(
            try ["2222:52:54:00:00:00:01:22", "80:192.168.105.9"].map { try PublishedPort(parsing: $0) },
            logger: Logger(label: "t") { _ in lines }
        ) {
            led.append($0.map(\.guest.description))
        }
        #expect(
            lines.take() == ["info: --publish 2222:52:54:00:00:00:01:22/tcp leads nowhere until that guest has a lease"]
        )
        guests.note([lease(two, one, until: 10)], now: .distantPast + .seconds(10))
        #expect(led.isEmpty, "that lease is over")
        guests.note([lease(two, one)], now: .distantPast + .seconds(10))
        guests.note([lease(two, one, until: 200)], now: .distantPast + .seconds(20))
        guests.note([lease(three, one)], now: .distantPast + .seconds(30))
        // Its old address is nothing to it any more.
        guests.note([lease(two, other)], now: .distantPast + .seconds(40))
        guests.note([lease(three, other)], now: .distantPast + .seconds(50))
        #expect(
            led == [
                ["192.168.105.2", "192.168.105.9"], ["192.168.105.3", "192.168.105.9"], ["0.0.0.0", "192.168.105.9"],
            ])
        #expect(
            lines.take().last
                == "info: --publish 2222:52:54:00:00:00:01:22/tcp leads nowhere until that guest has a lease again")
    }

    @Test func publishedPortFollowsNameAcrossLeases() throws {
        let lines = Lines()
        var led: [String] = []
        let guests = PublishedGuests(
            [try PublishedPort(parsing: "2222:web:22")], logger: Logger(label: "t") { _ in lines }
        ) { led.append($0[0].guest.description) }
        #expect(lines.take() == ["info: --publish 2222:web:22/tcp leads nowhere until that guest has a lease"])
        guests.note([lease(two, one, "web", until: 10), lease(three, other)], now: .distantPast + .seconds(10))
        #expect(led.isEmpty, "that lease is over, and the other has no name")
        guests.note([lease(two, one, "web")], now: .distantPast + .seconds(10))
        #expect(lines.take() == ["info: --publish 2222:web:22/tcp leads to 192.168.105.2"])
        // A lease without the name changes nothing, unless it is on the address.
        guests.note([lease(three, other, "db")], now: .distantPast + .seconds(20))
        #expect(led == ["192.168.105.2"])
        guests.note([lease(two, one, "www")], now: .distantPast + .seconds(30))
        #expect(
            lines.take() == ["info: --publish 2222:web:22/tcp leads nowhere until that guest has a lease again"])
        guests.note([lease(three, other, "web")], now: .distantPast + .seconds(40))
        guests.note([lease(three, one)], now: .distantPast + .seconds(50))
        #expect(led == ["192.168.105.2", "0.0.0.0", "192.168.105.3", "0.0.0.0"])
    }

    @Test func addressOfAnotherGuestIsReportedOnce() throws {
        let lines = Lines()
        let guests = PublishedGuests(
            [try PublishedPort(parsing: "8080:192.168.105.2:80")], logger: Logger(label: "t") { _ in lines }
        ) { _ in Issue.record("nothing leads elsewhere") }
        guests.note([lease(two, one), lease(three, other)], now: .distantPast + .seconds(10))
        guests.note([lease(two, one)], now: .distantPast + .seconds(20))
        #expect(lines.take().isEmpty)
        guests.note([lease(two, other)], now: .distantPast + .seconds(30))
        guests.note([lease(two, other)], now: .distantPast + .seconds(40))
        #expect(
            lines.take() == [
                "warning: --publish 8080:192.168.105.2:80/tcp leads to another guest now: 192.168.105.2 was leased "
                    + "to 52:54:00:00:00:01 and is leased to 52:54:00:00:00:02; publish the hardware address "
                    + "instead, or reserve the address: --dhcp-host 52:54:00:00:00:01,192.168.105.2"
            ])
    }
}
