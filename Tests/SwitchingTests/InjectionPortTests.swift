// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Testing
import Timing
import Wire

@testable import Switching

/// A device that is polled, and injects its frames.
@Suite struct InjectionPortTests {
    private final class Scene {
        let harness: ForwarderHarness
        let device: PolledTestDevice
        let injector: InjectionPort
        var number: PortNumber = 0

        init(workers: Int = 1) throws {
            harness = try ForwarderHarness(workers: workers)
            device = try PolledTestDevice()
            injector = InjectionPort(harness.control)
        }

        func attach() throws {
            var configuration = PortConfiguration(
                name: "device", kind: .device, role: .uplink,
                descriptor: try device.wakeup.descriptor.duplicate().release(), maximumFrame: 1514)
            configuration.device = FrameDevice(device)
            configuration.injector = injector
            number = try #require(harness.control.attach(configuration))
            harness.worker.runOnce(timeout: .zero)
            #expect(device.takePolls() == [PolledTestDevice.Poll(frames: 0, isReadable: false)])
        }

        /// As a thread of the device does.
        func inject(_ frames: [[UInt8]]) {
            var batch = FrameBatch(capacity: ForwardingWorker.batchCapacity)
            for frame in frames { batch.append(copying: frame.rawSpan) }
            injector.lockShared()
            injector.inject(&batch)
            injector.unlock()
        }
    }

    @Test func deviceIsPolledOnceAfterARunsFrames() throws {
        let scene = try Scene()
        let a = try scene.harness.attach(), b = try scene.harness.attach()
        try scene.attach()
        for number in 0..<5 as Range<UInt8> { try a.send(frame(to: mac(9), from: mac(1), [number])) }
        for number in 0..<3 as Range<UInt8> { try b.send(frame(to: mac(9), from: mac(2), [number])) }
        scene.harness.worker.runOnce(timeout: .zero)
        #expect(scene.device.polls == [PolledTestDevice.Poll(frames: 8, isReadable: false)])
        scene.harness.settle()
        #expect(scene.device.polls.count == 1)
    }

    /// What a run has brought is handled before ports are read again, so that no guest's frames pile up.
    @Test func devicesInboxIsEmptiedInARun() throws {
        let scene = try Scene()
        let a = try scene.harness.attach(), b = try scene.harness.attach()
        try scene.attach()
        scene.device.state.withLock { $0.framesPerPoll = 2 }
        for number in 0..<5 as Range<UInt8> { try a.send(frame(to: mac(9), from: mac(1), [number])) }
        for number in 0..<3 as Range<UInt8> { try b.send(frame(to: mac(9), from: mac(2), [number])) }
        scene.harness.worker.runOnce(timeout: .zero)
        #expect(scene.device.polls.map(\.frames) == [2, 2, 2, 2] && !scene.device.inbox.hasFrames)
    }

    @Test func deviceIsPolledWhenItsDescriptorIsReadable() throws {
        let scene = try Scene()
        try scene.attach()
        scene.device.wakeup.signal()
        scene.harness.worker.runOnce(timeout: .zero)
        #expect(scene.device.polls == [PolledTestDevice.Poll(frames: 0, isReadable: true)])
        scene.device.wakeup.drain()
        scene.harness.settle()
        #expect(scene.device.polls.count == 1)
        // The port is detached.
        scene.harness.control.detach(scene.number)
        scene.harness.settle()
        scene.device.wakeup.signal()
        scene.harness.settle()
        #expect(scene.device.polls.count == 1)
    }

    @Test func deviceIsPolledAtItsDeadline() throws {
        let scene = try Scene()
        let a = try scene.harness.attach()
        try scene.attach()
        scene.device.state.withLock { $0.deadline = BootClock.now + .seconds(3600) }
        try a.send(frame(to: mac(9), from: mac(1)))
        scene.harness.settle()
        #expect(scene.device.polls.count == 1)
        // The earlier deadline counts.
        scene.device.state.withLock { $0.deadline = BootClock.now }
        try a.send(frame(to: mac(9), from: mac(1)))
        scene.harness.worker.runOnce(timeout: .zero)
        #expect(scene.device.polls.count == 2)
        scene.harness.settle()
        #expect(scene.device.polls.count == 3)
    }

    /// A worker that waits for nothing else wakes up for the deadline.
    @Test func workerWakesForTheDeadline() throws {
        let scene = try Scene(), end = try ThreadExitCounter()
        let a = try scene.harness.attach()
        try scene.attach()
        scene.device.state.withLock { $0.deadline = BootClock.now + .milliseconds(20) }
        try a.send(frame(to: mac(9), from: mac(1)))
        scene.harness.worker.runOnce(timeout: .zero)
        try #require(scene.device.polls.count == 1)
        let runner = Runner(scene.harness.takeWorker())
        try WorkerThread.start(named: "forwarder") {
            runner.run()
            end.arrive()
        }
        let deadline = BootClock.now + .seconds(30)
        while scene.device.polls.count < 2 && BootClock.now < deadline {
            _ = end.wakeup.descriptor.wait(for: .readable, until: BootClock.now + .milliseconds(1))
        }
        #expect(scene.device.polls.count == 2)
        scene.harness.control.stop()
        #expect(
            end.wakeup.descriptor.wait(for: .readable, until: BootClock.now + .seconds(30))
                == .readable)
    }

    private final class Runner: @unchecked Sendable {
        private var worker: ForwardingWorker

        init(_ worker: consuming ForwardingWorker) { self.worker = worker }

        func run() { worker.run() }
    }

    /// Frames that the device has no room for are queued; the device is polled when they are sent.
    @Test func deviceIsPolledAfterQueuedFrames() throws {
        let scene = try Scene()
        let a = try scene.harness.attach()
        try scene.attach()
        let frames = (0..<5).map { frame(to: mac(9), from: mac(1), [$0]) }
        scene.device.leaveRoom(for: 2, framesOf: VirtioNetHeader.length + frames[0].count)
        for frame in frames { try a.send(frame) }
        scene.harness.worker.runOnce(timeout: .zero)
        let deadline = BootClock.now + .seconds(30)
        while scene.device.polls.count < 2 && BootClock.now < deadline {
            scene.harness.worker.runOnce(timeout: .milliseconds(1))
        }
        #expect(
            scene.device.polls == [
                PolledTestDevice.Poll(frames: 2, isReadable: false),
                PolledTestDevice.Poll(frames: 3, isReadable: false),
            ])
    }

    @Test func injectedFramesArriveWhileThePortIsAttached() throws {
        let scene = try Scene()
        let a = try scene.harness.attach(), b = try scene.harness.attach()
        try a.send(frame(to: .broadcast, from: mac(1)))
        scene.harness.settle()
        _ = b.received()
        let there = frame(to: mac(1), from: mac(9)), everywhere = frame(to: .broadcast, from: mac(9))
        scene.inject([there])
        #expect(a.received().isEmpty)
        try scene.attach()
        scene.inject([there, everywhere])
        #expect(a.received() == [there, everywhere])
        #expect(b.received() == [everywhere])
        // The switch has learned the device's address from its frames.
        try b.send(frame(to: mac(9), from: mac(2)))
        scene.harness.settle()
        #expect(a.received().isEmpty)
        #expect(scene.device.polls.last == PolledTestDevice.Poll(frames: 1, isReadable: false))
        scene.harness.control.detach(scene.number)
        // Another port has its number.
        let c = try scene.harness.attach()
        scene.harness.settle()
        scene.inject([there])
        #expect(a.received().isEmpty)
        #expect(c.received().isEmpty)
        #expect(scene.harness.counters(c).framesIn == 0)
    }

    /// A receiver that does not report room, filled by injected frames, gets the rest from the first worker: the device
    /// may not inject again for long.
    @Test func firstWorkerSendsTheQueue() throws {
        let scene = try Scene()
        let a = try scene.harness.attach()
        try scene.attach()
        // Another device is such a receiver.
        let other = try PolledTestDevice()
        var configuration = PortConfiguration(
            name: "other", kind: .device, role: .guest, descriptor: try other.wakeup.descriptor.duplicate().release(),
            maximumFrame: 1514)
        configuration.device = FrameDevice(other)
        _ = try #require(scene.harness.control.attach(configuration))
        scene.harness.settle()
        #expect(other.takePolls().count == 1)
        let frames = (0..<4).map { frame(to: .broadcast, from: mac(9), [$0]) }
        other.leaveRoom(for: 1, framesOf: VirtioNetHeader.length + frames[0].count)
        scene.inject(frames)
        #expect(a.received().count == 4)
        #expect(other.emptyInbox() == 1)
        let deadline = BootClock.now + .seconds(30)
        while other.polls.isEmpty && BootClock.now < deadline {
            scene.harness.worker.runOnce(timeout: .milliseconds(1))
        }
        #expect(other.polls == [PolledTestDevice.Poll(frames: 4, isReadable: false)])
    }

    /// A thread of the device injects while two workers run and ports come and go.
    @Test func deviceThreadInjectsBesideTheWorkers() throws {
        let scene = try Scene(workers: 2), end = try ThreadExitCounter()
        let a = try scene.harness.attach()
        try scene.attach()
        try a.send(frame(to: .broadcast, from: mac(1)))
        scene.harness.settle()
        let helper = scene.harness.worker.makeWorker(1)
        let runners = [Runner(scene.harness.takeWorker()), Runner(helper)], control = scene.harness.control
        for runner in runners {
            try WorkerThread.start(named: "forwarder") {
                runner.run()
                end.arrive()
            }
        }
        var received = 0, disorder = 0, last = -1
        func take() {
            for one in a.received()
            where one.count >= 16 && one[6..<12].elementsEqual(frame(to: mac(1), from: mac(9))[6..<12]) {
                let number = Int(one[14]) << 8 | Int(one[15])
                if number <= last { disorder += 1 }
                last = number
                received += 1
            }
        }
        var visitor: PeerSocket?
        for round in 0..<2000 {
            scene.inject([frame(to: mac(1), from: mac(9), [UInt8(round >> 8), UInt8(round & 0xff)])])
            try a.send(frame(to: mac(9), from: mac(1)))
            if round % 50 == 0 {
                if let visitor { control.detach(visitor.number) }
                visitor = try scene.harness.attach(runsOnce: false)
                try visitor?.send(frame(to: mac(9), from: mac(77)))
            }
            take()
        }
        take()
        #expect(received == 2000)
        #expect(disorder == 0)
        control.stop()
        #expect(
            end.wakeup.descriptor.wait(for: .readable, until: BootClock.now + .seconds(30))
                == .readable)
        // Frames are ignored afterwards.
        scene.inject([frame(to: mac(1), from: mac(9), [0xff, 0xff])])
    }
}
