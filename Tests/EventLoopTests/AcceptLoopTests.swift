// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing

@testable import EventLoop

/// A listening socket in a temporary folder, and its clients.
private final class ListenerScene {
    let folder: TemporaryFolder
    let loop: ControlLoop
    let quota: ClientQuota
    private let path: UnixPath
    private var listener: AcceptLoop?
    var clients: [(raw: Int32, admission: ClientQuota.Admission)] = []
    var complaints: [String] = []
    private var callers: [Int32] = []
    var turns = 0

    init(limit: Int, cost: Int = 1) throws {
        folder = try TemporaryFolder()
        loop = try ControlLoop()
        quota = ClientQuota(limit: limit)
        path = try UnixPath(folder.file("listener"))
        let socket = try Socket.unixStream()
        try socket.bind(to: path)
        try socket.listen()
        listener = try AcceptLoop(
            socket, cost: cost, of: quota, loop: loop, onExhaustion: { [unowned self] in complaints.append($0) }
        ) { [unowned self] in
            clients.append(($0.release(), $1))
        }
    }

    deinit { (clients.map(\.raw) + callers).forEach { _ = Descriptor(adopting: $0) } }

    func call() throws {
        let socket = try Socket.unixStream()
        try socket.connect(to: path)
        callers.append(socket.release())
    }

    func leave() {
        guard let last = clients.popLast() else { return }
        _ = Descriptor(adopting: last.raw)
    }

    func runLoopOnce() {
        _ = loop.schedule(after: .milliseconds(1)) {}
        loop.runOnce()
        turns += 1
    }

    func run(_ what: String, until isDone: () -> Bool) throws {
        let deadline = BootClock.now + .fractionalSeconds(Double(ampleTime))
        while !isDone() {
            guard BootClock.now < deadline else { throw TimedOut(what) }
            runLoopOnce()
        }
    }
}

@Suite struct AcceptLoopTests {
    @Test func clientsBeyondTheQuotaWaitUntilOthersHaveGone() throws {
        let scene = try ListenerScene(limit: 7, cost: 2)
        for _ in 0..<6 { try scene.call() }
        try scene.run("three clients") { scene.clients.count == 3 }
        try scene.run("a complaint") { !scene.complaints.isEmpty }
        #expect(scene.quota.used == 6)
        for count in 4...6 {
            scene.leave()
            try scene.run("client \(count)") { scene.clients.count == 3 }
        }
        #expect(scene.quota.used == 6)
        while !scene.clients.isEmpty { scene.leave() }
        #expect(scene.quota.used == 0)
    }

    /// The client that waits keeps the socket ready: a loop that watches it meanwhile never sleeps.
    @Test func acceptLoopPausesWithoutFreeDescriptors() throws {
        let scene = try ListenerScene(limit: 1)
        for _ in 0..<2 { try scene.call() }
        try scene.run("a client, and a complaint") { scene.clients.count == 1 && scene.complaints.count == 1 }
        // The loop's own timer is all that ends a wait.
        var events = 0
        let end = BootClock.now + 3 * Acceptance.pause
        while BootClock.now < end {
            _ = scene.loop.schedule(at: end) {}
            scene.loop.runOnce()
            events += 1
        }
        #expect(events < 20, "\(events)")
        #expect(scene.complaints.count == 1, "said once")
        scene.leave()
        try scene.run("the other client") { scene.clients.count == 1 }
    }

    @Test func acceptWithoutClientIsNoFailure() throws {
        let folder = try TemporaryFolder(), path = try UnixPath(folder.file("listener"))
        let socket = try Socket.unixStream()
        try socket.bind(to: path)
        try socket.listen()
        guard case .none = socket.acceptClient() else {
            Issue.record("a client is there")
            return
        }
        // What cannot be accepted from is left alone, instead of being tried for ever.
        guard case .failed = try Socket.unixStream().acceptClient() else {
            Issue.record("no failure")
            return
        }
    }
}
