// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import VDEPlug
import Wire

private func join(_ path: String, port: Int = 0, seconds: Double = 2) throws(PlugError) -> Plug {
    try Plug.join(
        path: path, port: port, options: PlugOptions(description: "a test"),
        deadline: BootClock.now + .nanoseconds(Int64(seconds * 1e9)))
}

/// The cause for which joining failed; nil if it did not.
private func cause(_ path: String, port: Int = 0, seconds: Double = 2) -> PlugFailure? {
    do throws(PlugError) {
        _ = try join(path, port: port, seconds: seconds)
        return nil
    } catch {
        #expect(!error.description.isEmpty)
        return error.cause
    }
}

@Suite struct PlugTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func requestContainsPortAndDescription() throws {
        let fake = try FakeSwitch(in: folder, .proper)
        let plug = try join(fake.path, port: 9)
        let request = try VDERequest(parsing: fake.request.rawSpan)
        #expect(request.kind == .newControl(port: 9))
        #expect(request.description == "a test")
        #expect(String(decoding: request.path, as: UTF8.self).hasPrefix(try Files.realPath(fake.path) + "/.vde_vmnet-"))
        _ = try plug.data.send([UInt8](repeating: 7, count: 60))
        let ready = plug.data.wait(for: .readable, until: BootClock.now + .seconds(5))
        #expect(ready.contains(.readable))
        #expect(try plug.data.receive(limit: 2000) == [UInt8](repeating: 7, count: 60))
        // The client has left nothing in the switch's directory.
        #expect(try Files.entries(fake.path).filter { $0.hasPrefix(".") }.isEmpty)
    }

    @Test func managementPortHasItsOwnRequest() throws {
        let fake = try FakeSwitch(in: folder, .proper)
        _ = try join(fake.path, port: VirtualNetworkLocator.managementPort)
        #expect(try VDERequest(parsing: fake.request.rawSpan).kind == .newPort0)
    }

    @Test func answerInPiecesIsAssembled() throws {
        #expect(cause(try FakeSwitch(in: folder, .pieces(7)).path) == nil)
    }

    @Test func refusalsAndTimeoutsAreReported() throws {
        #expect(cause(try FakeSwitch(in: folder, .refusing, name: "a").path) == .refused)
        #expect(cause(try FakeSwitch(in: folder, .silent, name: "b").path, seconds: 0.2) == .silent)
        for count in [1, 50, 109] {
            #expect(cause(try FakeSwitch(in: folder, .halfway(count), name: "c\(count)").path) == .refused)
        }
    }

    @Test func malformedAnswerIsRefused() throws {
        let zeros = try FakeSwitch(in: folder, .answering([UInt8](repeating: 0, count: 110)), name: "zeros")
        #expect(cause(zeros.path) == .badReply)
        let ones = try FakeSwitch(in: folder, .answering([UInt8](repeating: 0xff, count: 110)), name: "ones")
        #expect(cause(ones.path) == .badReply)
        // A proper address of nothing.
        let nowhere = try FakeSwitch(
            in: folder, .answering(UnixAddressLayout.native.encode(path: Array("/nowhere".utf8))!), name: "nowhere")
        #expect(cause(nowhere.path) == .system)
        let short = try FakeSwitch(in: folder, .answering([1, 2, 3]), name: "short")
        #expect(cause(short.path, seconds: 0.2) == .silent)
        for fake in [zeros, ones, nowhere, short] {
            #expect(try Files.entries(fake.path).filter { $0.hasPrefix(".") }.isEmpty)
        }
    }

    @Test func pathsThatAreNotSwitchesAreReported() throws {
        #expect(cause(folder.file("missing")) == .noSwitch)
        try Files.replace(folder.file("file"), [])
        #expect(cause(folder.file("file")) == .notASwitch)
        try Files.makeDirectory(folder.file("empty"))
        #expect(cause(folder.file("empty")) == .noSwitch)
        try Files.makeDirectory(folder.file("stale"))
        do {
            let socket = try Socket.unixStream()
            try socket.bind(to: UnixPath(folder.file("stale/ctl")))
        }
        #expect(cause(folder.file("stale")) == .noSwitch)
        let long = folder.file(String(repeating: "x", count: 110))
        try Files.makeDirectory(long)
        #expect(cause(long) == .pathTooLong)
        #expect(cause(folder.file("file/below")) == .system)
    }

    @Test func socketsOfKilledProcessesAreRemoved() throws {
        let fake = try FakeSwitch(in: folder, .proper)
        // 4,194,305 is above every process id (proc(5), pid_max).
        let ours = fake.path + "/.vde_vmnet-4194305-0", alive = fake.path + "/.vde_vmnet-1-0",
            others = fake.path + "/.4194305-00000"
        for path in [ours, alive, others] {
            let socket = try Socket.unixDatagram()
            try socket.bind(to: UnixPath(path))
        }
        _ = try join(fake.path)
        #expect(!Files.exists(ours) && Files.exists(alive) && Files.exists(others))
    }

    @Test(.enabled(if: Files.exists("/usr/bin/vde_switch"), "needs the package vde2"))
    func vdeSwitchForwardsFramesOfPlugs() throws {
        let program = try BackgroundProgram(["vde_switch", "--unix", folder.file("vde"), "--numports", "4"])
        try eventually("vde_switch") { Files.exists(folder.file("vde/ctl")) }
        let a = try join(folder.file("vde")), b = try join(folder.file("vde/ctl"), port: 3)
        try program.type("port/allprint\n")
        let listing = try program.wait(for: "1000 Success")
        #expect(listing.contains("a test"))
        #expect(listing.contains("Port 0003"))
        let frame = MACAddress.broadcast.bytes + [2, 0, 0, 0, 0, 1, 0x88, 0xb5] + [UInt8](repeating: 9, count: 60)
        _ = try a.data.send(frame)
        let ready = b.data.wait(for: .readable, until: BootClock.now + .seconds(5))
        #expect(ready.contains(.readable))
        #expect(try b.data.receive(limit: 2000) == frame)
        // Older switches refuse a port out of range by silence, newer ones by closing.
        let refusal = cause(folder.file("vde"), port: 99, seconds: 0.3)
        #expect(refusal == .silent || refusal == .refused)
        program.kill()
    }
}

@Suite struct PointToPointTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func expect(_ frame: [UInt8], at end: borrowing PointToPoint) throws {
        let ready = end.socket.wait(for: .readable, until: BootClock.now + .seconds(5))
        #expect(ready.contains(.readable))
        #expect(try end.socket.receive(limit: 2000) == frame)
    }

    @Test func endsConnectInEitherOrder() throws {
        let path = folder.file("cable")
        let first = try PointToPoint(path: path, group: nil)
        #expect(first.isFirst == true)
        #expect(first.pair() == false)
        let second = try PointToPoint(path: path, group: nil)
        #expect(second.isFirst == false)
        #expect(second.ownPath == path + "+")
        _ = try second.socket.send([1, 2, 3])
        try expect([1, 2, 3], at: first)
        #expect(first.pair() == true)
        _ = try first.socket.send([4, 5, 6])
        try expect([4, 5, 6], at: second)
    }

    @Test func thirdEndIsRefused() throws {
        let path = folder.file("cable")
        let first = try PointToPoint(path: path, group: nil)
        let second = try PointToPoint(path: path, group: nil)
        for isPaired in [false, true] {
            if isPaired { #expect(first.pair() == true) }
            do throws(PlugError) {
                _ = try PointToPoint(path: path, group: nil)
                Issue.record("a third end was let in")
            } catch {
                #expect(error.cause == .occupied)
            }
        }
        #expect(second.isFirst == false)
    }

    @Test func endRemovesItsNameAndSendsGoodbye() throws {
        let path = folder.file("cable")
        let first = try PointToPoint(path: path, group: nil)
        do {
            let second = try PointToPoint(path: path, group: nil)
            #expect(first.pair() == true)
            _ = second.isFirst
        }
        try expect([], at: first)
        #expect(!Files.exists(path + "+"))
        first.unpair()
        let third = try PointToPoint(path: path, group: nil)
        #expect(third.isFirst == false)
        #expect(first.pair() == true)
    }

    @Test func abandonedEndIsReplaced() throws {
        let path = folder.file("cable")
        do {
            let dead = try Socket.unixDatagram()
            try dead.bind(to: UnixPath(path))
        }
        #expect(Files.exists(path))
        let first = try PointToPoint(path: path, group: nil)
        #expect(first.isFirst == true)
    }

    @Test func filesAreNotReplaced() throws {
        let path = folder.file("file")
        try Files.replace(path, [1])
        do throws(PlugError) {
            _ = try PointToPoint(path: path, group: nil)
            Issue.record("a file was taken for a socket")
        } catch {
            #expect(error.cause == .system)
        }
        #expect(try Files.read(path) == [1])
    }
}
