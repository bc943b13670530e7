// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

// How ports are spread over workers. A worker that is saturated migrates its busiest suitable port to the least loaded
// worker, one port a sample period; a worker with a low load returns its ports to the first. So a quiet network costs
// one thread, and a busy one uses as many threads as there are ports that keep them busy. Decisions only: the worker
// carries them out.

/// The load of a worker in its last sample period.
struct WorkerLoad: BitwiseCopyable {
    /// 0 to 100.
    var percent = 0
    /// The end of that period.
    var sampledAt = Instant.distantPast
}

/// Measures how much of a worker's time goes into which of its ports, in periods.
struct LoadSampler {
    static let period = TimeAmount.milliseconds(20)

    /// When this period has begun, and its number.
    private(set) var start = Instant.distantPast
    private(set) var number: UInt64 = 1
    /// Time of this period that was spent on ports.
    private(set) var cpuTime = TimeAmount.zero
    /// The end of the last piece of work.
    private(set) var last = Instant.distantPast

    mutating func begin(at now: Instant) {
        last = now
        if start == .distantPast { start = now }
    }

    /// Counts the time since the last call as work for a port.
    mutating func add(to ingress: inout PortIngress, now: Instant) {
        let spent = now - last
        last = now
        cpuTime += spent
        if ingress.samplePeriod != number {
            ingress.samplePeriod = number
            ingress.cpuTime = .zero
        }
        ingress.cpuTime += spent
    }

    var isComplete: Bool { last - start >= LoadSampler.period && cpuTime > .zero }

    var length: TimeAmount { last - start }

    var load: WorkerLoad { WorkerLoad(percent: Int(cpuTime * 100 / length), sampledAt: last) }

    mutating func startNextPeriod() {
        start = last
        cpuTime = .zero
        number &+= 1
    }
}

/// What a worker does at the end of a sample period.
enum RebalanceDecision: Equatable {
    case keep
    case migrate(to: Int)
    /// All ports go back to the first worker.
    case returnPorts

    /// Percent of its time from which on a worker is saturated, up to which another has room for a port, and up to
    /// which its ports need not be at two workers.
    static let saturated = 90, roomy = 60, low = 30

    /// - Parameter load: of each of `count` workers, in percent of its time.
    init(_ worker: Int, count: Int, load: (Int) -> Int) {
        self = .keep
        if load(worker) >= RebalanceDecision.saturated {
            var least = RebalanceDecision.roomy + 1
            for other in 0..<count where other != worker && load(other) < least {
                least = load(other)
                self = .migrate(to: other)
            }
        } else if worker != 0 && load(worker) <= RebalanceDecision.low && load(0) <= RebalanceDecision.low {
            self = .returnPorts
        }
    }
}

/// Chooses the port that a worker migrates: the busiest that is worth it and makes up no more than half of its work.
struct MigrationCandidate {
    /// Percent of its time that a port must take.
    static let worthwhile: Int64 = 10

    private let atLeast: TimeAmount
    private let atMost: TimeAmount
    private(set) var port: PortNumber?
    private var cpuTime = TimeAmount.zero

    /// - Parameters:
    ///   - total: work in the period.
    ///   - period: its length.
    init(total: TimeAmount, period: TimeAmount) {
        atLeast = period * MigrationCandidate.worthwhile / 100
        // A little more than half, for two that are equal.
        atMost = total * 55 / 100
    }

    mutating func consider(_ number: PortNumber, _ cpuTime: TimeAmount) {
        if cpuTime >= atLeast && cpuTime <= atMost && cpuTime > self.cpuTime {
            (port, self.cpuTime) = (number, cpuTime)
        }
    }
}

extension ForwardingTables {
    /// What a worker is to do. A worker without a recent sample has nothing to do.
    func rebalance(_ worker: Int, at now: Instant) -> RebalanceDecision {
        RebalanceDecision(worker, count: loads.count) {
            loads[$0].sampledAt + 2 * LoadSampler.period < now ? 0 : loads[$0].percent
        }
    }
}

extension ForwardingWorker {
    /// At the end of a sample period: records this worker's load, and migrates ports if that helps.
    mutating func rebalance() {
        fabric.tablesLock.lock()
        fabric.tables.loads[index] = sampler.load
        let decision = fabric.tables.rebalance(index, at: sampler.last)
        fabric.tablesLock.unlock()
        switch decision {
        case .keep: break
        case .migrate(let helper):
            exclusively { worker in
                guard let number = worker.migrationCandidate() else { return }
                worker.fabric.migrate(number, from: worker.index, to: helper)
            }
        case .returnPorts:
            exclusively { worker in
                for index in 0..<worker.ports.count {
                    worker.fabric.migrate(worker.ports.number(at: index), from: worker.index, to: 0)
                }
            }
        }
        sampler.startNextPeriod()
    }

    private func migrationCandidate() -> PortNumber? {
        var candidate = MigrationCandidate(total: sampler.cpuTime, period: sampler.length)
        for position in 0..<ports.count {
            let number = ports.number(at: position)
            guard ports[number].worker == index, ports[number].ingress.samplePeriod == sampler.number,
                mayMigrate(number)
            else { continue }
            candidate.consider(number, ports[number].ingress.cpuTime)
        }
        return candidate.port
    }

    /// A datagram listener and its clients stay together, at the first worker.
    private func mayMigrate(_ number: PortNumber) -> Bool {
        ports[number].kind != .datagramListener && ports[number].endpoint.listener == nil
    }
}
