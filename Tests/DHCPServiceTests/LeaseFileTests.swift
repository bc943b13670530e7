// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Lifecycle
import Logging
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
import Wire

private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

@Suite struct LeaseFileTests {
    private let folder: TemporaryFolder
    private var path: String { folder.file("leases") }

    init() throws { folder = try TemporaryFolder() }

    private func lease(_ last: Int, seconds: Int = 1800) -> Lease {
        let hardware = MACAddress(UInt64(last))
        let now = BootClock.now
        return Lease(
            address: IPv4Address("192.168.105.\(last)")!, client: ClientIdentity(hardware: hardware),
            hardware: hardware, hostName: "vm\(last)",
            expires: max(.distantPast, now + .seconds(Int64(seconds))))
    }

    private func reload() throws -> [Lease] { try LeaseFile.open(path, logger: quiet).leases }

    @Test func leasesSurviveARestart() throws {
        let (file, none) = try LeaseFile.open(path, logger: quiet)
        #expect(none.isEmpty)
        file.append([lease(2), lease(3)], all: [])
        file.append([lease(2, seconds: 600)], all: [])
        let found = try reload()
        #expect(found.map(\.address.description).sorted() == ["192.168.105.2", "192.168.105.3"])
        let remaining = (found.first { $0.hostName == "vm2" }!.expires - BootClock.now).seconds
        #expect((595...601).contains(remaining), "the last change counts: \(remaining) s")
        #expect(try reload().map(\.client) == found.map(\.client))
    }

    @Test func endedLeasesAreRestoredInOrder() throws {
        let (file, _) = try LeaseFile.open(path, logger: quiet)
        file.append([lease(3, seconds: -100), lease(2, seconds: -50), lease(4)], all: [])
        #expect(try reload().map(\.hostName) == ["vm3", "vm2", "vm4"])
    }

    @Test func everyAppendIsOnDiskBeforeItReturns() throws {
        let (file, _) = try LeaseFile.open(path, logger: quiet)
        for number in 2..<20 {
            file.append([lease(number)], all: [])
            #expect(LeaseJournal.parse(try Files.read(path)).records.count == number - 1)
        }
    }

    /// A week of a lease is left after a restart if leases last a week; a day, if they are shorter now.
    @Test func longLeasesAreRestored() throws {
        let (file, _) = try LeaseFile.open(path, leaseTime: 604_800, logger: quiet)
        file.append([lease(2, seconds: 604_800), lease(3, seconds: 40_000_000)], all: [])
        func remaining(_ leaseTime: UInt32) throws -> [Int64] {
            try LeaseFile.open(path, leaseTime: leaseTime, logger: quiet).leases.map {
                ($0.expires - BootClock.now).seconds
            }
        }
        #expect(try remaining(604_800).allSatisfy { (604_700...604_800).contains($0) })
        #expect(try remaining(1800).allSatisfy { (86_300...86_400).contains($0) })
    }

    @Test func incompleteLineIsIgnored() throws {
        let (file, _) = try LeaseFile.open(path, logger: quiet)
        file.append([lease(2), lease(3)], all: [])
        let bytes = try Files.read(path)
        try Files.replace(path, Array(bytes.dropLast(5)))
        #expect(try reload().map(\.hostName) == ["vm2"])
        #expect(try Files.entries(folder.path) == ["leases"])
    }

    /// A file without names is not taken for a damaged one, and is added to.
    @Test func namesAreKeptWithLeases() throws {
        let (file, _) = try LeaseFile.open(path, logger: quiet)
        var named = lease(3)
        named.name = GuestName("vm3")
        file.append([lease(2)], all: [])
        #expect(try reload().map(\.name) == [nil])
        file.append([named], all: [])
        try LeaseFile.open(path, logger: quiet).file.append([named], all: [])
        let found = try reload()
        #expect(Set(found.map(\.name)) == [nil, GuestName("vm3")] && found.count == 2)
        #expect(try Files.entries(folder.path) == ["leases"])
    }

    @Test func damagedFileIsRenamed() throws {
        let (file, _) = try LeaseFile.open(path, logger: quiet)
        file.append([lease(2), lease(3)], all: [])
        var bytes = try Files.read(path)
        bytes[LeaseJournal.header.utf8.count + 3] = 0
        try Files.replace(path, bytes)
        #expect(try reload().map(\.hostName) == ["vm3"])
        #expect(try Files.entries(folder.path).contains { $0.hasPrefix("leases.damaged-") })
        #expect(try reload().map(\.hostName) == ["vm3"])
    }

    @Test func foreignFileIsRenamedWhole() throws {
        try Files.replace(path, Array("dear diary".utf8))
        #expect(try reload().isEmpty)
        let aside = try #require(try Files.entries(folder.path).first { $0.hasPrefix("leases.damaged-") })
        #expect(Files.text(folder.file(aside)) == "dear diary")
    }

    @Test func grownFileIsRewritten() throws {
        let (file, _) = try LeaseFile.open(path, logger: quiet)
        let now = [lease(2), lease(3)]
        for _ in 0..<1100 { file.append([lease(2)], all: now) }
        #expect(try Files.status(path).size < 60_000)
        #expect(try reload().count == 2)
    }

    @Test(.enabled(if: Files.exists("/dev/full"), "needs /dev/full"))
    func fullDiskDoesNotStopTheService() throws {
        let (file, _) = try LeaseFile.open(path, logger: quiet)
        try Files.remove(path)
        file.append([lease(2)], all: [])
        // The directory is not there any more: neither appending nor rewriting can work for good, and nothing throws.
        #expect(throws: ExitError.self) { try LeaseFile.open("/dev/full/leases", logger: quiet).leases }
    }

    @Test func otherUsersCannotReadTheFile() throws {
        try Files.replace(path, [], mode: 0o644)
        let (file, _) = try LeaseFile.open(path, logger: quiet)
        file.append([lease(2)], all: [])
        #expect(try Files.status(path).mode == 0o600)
    }

    @Test func symbolicLinkIsNotFollowed() throws {
        try Files.replace(folder.file("precious"), Array("precious".utf8))
        _ = try ChildProcess.run(["ln", "-s", folder.file("precious"), path])
        #expect(throws: ExitError.self) { try LeaseFile.open(path, logger: quiet).leases }
        #expect(Files.text(folder.file("precious")) == "precious")
    }
}
