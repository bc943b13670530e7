// SPDX-License-Identifier: Apache-2.0
import Platform

// How ports are spread over workers. A worker that is always behind hands a part of its ports to one that has little to
// do, one port at a time; one with little to do gives them back to the first. So a quiet network is one thread's
// business, which costs least, and a busy one is as many threads' as there are ports that keep them busy.

/// How much of a worker's time its ports took in its last period.
struct WorkerLoad: BitwiseCopyable {
    /// 0 to 100.
    var percent = 0
    /// The end of that period, in nanoseconds of the monotonic clock.
    var moment: UInt64 = 0
}

extension Fabric.Tables {
    /// What a worker is to do: one that has not had a turn for a while has nothing to do. With `tables`.
    func sharing(for worker: Int, at moment: UInt64) -> Sharing {
        Sharing(worker, count: loads.count) { loads[$0].moment &+ 2 * Balance.period < moment ? 0 : loads[$0].percent }
    }
}

/// What a worker knows of its own work.
struct Balance {
    /// Nanoseconds over which work is measured.
    static let period = 20 * MonotonicClock.millisecond
    /// Percent of its time from which on a worker is behind, up to which another is free to help, and up to which it
    /// need not be two.
    static let behind = 90, free = 60, quiet = 30
    /// Percent that a port must take for it to be worth handing over.
    static let worthwhile = 10

    /// When this period has begun, and its number.
    var start: UInt64 = 0
    var number: UInt64 = 1
    /// Nanoseconds of it spent on ports.
    var effort: UInt64 = 0
    /// When the last piece of work was done.
    var last: UInt64 = 0

    mutating func begin(at moment: UInt64) {
        last = moment
        if start == 0 { start = moment }
    }

    var isDue: Bool { last &- start >= Balance.period && effort > 0 }

    mutating func startAnew() {
        start = last
        effort = 0
        number &+= 1
    }
}

/// Which port a worker hands over: the busiest that is worth it and makes up no more than half of its work.
struct HandOverChoice {
    private let atLeast: UInt64
    private let atMost: UInt64
    private(set) var port: PortNumber?
    private var effort: UInt64 = 0

    /// - Parameters:
    ///   - total: nanoseconds of work in the period.
    ///   - period: its length in nanoseconds.
    init(total: UInt64, period: UInt64) {
        atLeast = period * UInt64(Balance.worthwhile) / 100
        // A little more than half, for two that are equal.
        atMost = total * 55 / 100
    }

    mutating func consider(_ number: PortNumber, _ effort: UInt64) {
        if effort >= atLeast && effort <= atMost && effort > self.effort { (port, self.effort) = (number, effort) }
    }
}

/// What a worker does at the end of a period.
enum Sharing: Equatable {
    case stay
    case handOver(to: Int)
    case giveBack

    /// - Parameter load: of each of `count` workers, in percent of its time.
    init(_ worker: Int, count: Int, load: (Int) -> Int) {
        self = .stay
        if load(worker) >= Balance.behind {
            var least = Balance.free + 1
            for other in 0..<count where other != worker && load(other) < least {
                least = load(other)
                self = .handOver(to: other)
            }
        } else if worker != 0 && load(worker) <= Balance.quiet && load(0) <= Balance.quiet {
            self = .giveBack
        }
    }
}

extension Forwarder {
    /// Counts what has been done since the last call as work for this port.
    mutating func noteEffort(_ number: Int) {
        let moment = MonotonicClock.now
        let spent = moment &- balance.last
        balance.last = moment
        balance.effort &+= spent
        if unsafe ports[number].ingress.period != balance.number {
            unsafe ports[number].ingress.period = balance.number
            unsafe ports[number].ingress.effort = 0
        }
        unsafe ports[number].ingress.effort &+= spent
    }

    /// At the end of a period: tells how much there was to do, and hands over, or gives back, what is not to stay here.
    mutating func shareWork() {
        let length = balance.last &- balance.start
        fabric.tables.lock()
        tables.loads[index] = WorkerLoad(percent: Int(balance.effort * 100 / length), moment: balance.last)
        let sharing = tables.sharing(for: index, at: balance.last)
        fabric.tables.unlock()
        switch sharing {
        case .stay: break
        case .handOver(let helper):
            alone { forwarder in
                if let number = forwarder.portToHandOver(length) { forwarder.handOver(number, to: helper) }
            }
        case .giveBack:
            alone { forwarder in
                for place in 0..<forwarder.state.activeCount {
                    forwarder.handOver(unsafe forwarder.active[place], to: 0)
                }
            }
        }
        balance.startAnew()
    }

    private func portToHandOver(_ length: UInt64) -> PortNumber? {
        var choice = HandOverChoice(total: balance.effort, period: length)
        for place in 0..<state.activeCount {
            let number = unsafe active[place]
            guard unsafe ports[Int(number)].worker == index, unsafe ports[Int(number)].ingress.period == balance.number,
                mayHandOver(number)
            else { continue }
            choice.consider(number, unsafe ports[Int(number)].ingress.effort)
        }
        return choice.port
    }

    /// A datagram listener and its clients stay together, at the first worker.
    private func mayHandOver(_ number: PortNumber) -> Bool {
        unsafe ports[Int(number)].kind != .datagramListener && ports[Int(number)].configuration.listener == nil
    }

    /// Gives a port to another worker, alone, if it is this one's.
    mutating func handOver(_ number: PortNumber, to worker: Int) {
        let place = Int(number)
        guard unsafe places[place] >= 0, unsafe ports[place].worker == index else { return }
        let isWatched = unsafe !ports[place].hasEnded && !ports[place].isSilenced && ports[place].raw >= 0
        if isWatched { unsafe pollers[index].remove(ports[place].raw) }
        unsafe ports[place].worker = worker
        if isWatched {
            unsafe try? pollers[worker].add(ports[place].raw, token: UInt64(number), for: interest(in: place))
        }
        state.generation &+= 1
    }
}
