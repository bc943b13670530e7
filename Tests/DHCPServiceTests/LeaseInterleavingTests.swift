// SPDX-License-Identifier: Apache-2.0
import DHCPService
import TestSupport
import Testing
import Timing
import Wire

private let second = TimeAmount.seconds(1)

/// Random conversations of many clients at many ports, of good will and of ill. Whatever their order, no address
/// belongs to two clients, no port exceeds its share, and the journal comes to what the server has.
@Suite struct LeaseInterleavingTests {
    /// A client as it sees itself.
    private struct Client {
        let hardware: MACAddress
        var port: ClientPort
        var offer: DHCPv4Message?
        /// Its address, until the end of its lease.
        var held: (address: IPv4Address, ends: Instant)?
        /// It does not answer any more.
        var isGone = false

        func isUsing(_ address: IPv4Address, _ now: Instant) -> Bool {
            !isGone && held.map { $0.address == address && $0.ends > now } ?? false
        }
    }

    private struct Network {
        var harness: DHCPHarness
        var random: SeededGenerator
        var clients: [Client] = []
        var journal: [Lease] = []
        var nextPort: UInt16 = 1
        let poolSize: Int

        init(seed: UInt64, isJoined: Bool) {
            random = SeededGenerator(seed: seed)
            poolSize = Int.random(in: 4...24, using: &random)
            harness = DHCPHarness(last: poolSize + 1) {
                $0.isAuthoritative = !isJoined
                $0.hasKnownPorts = !isJoined
            }
            for number in 0..<poolSize * 2 {
                let port: ClientPort
                switch (isJoined, number % 4) {
                case (true, _): port = .network
                // Half of the clients are made up at one port.
                case (false, 0), (false, 1): port = ClientPort(500, .guest)
                case (false, 2) where number < 8: port = ClientPort(501, .trunk)
                default:
                    port = ClientPort(nextPort, .guest)
                    nextPort += 1
                }
                clients.append(Client(hardware: mac(1000 + number), port: port))
            }
        }

        /// Delivers answers, and lets clients answer probes, until nothing more comes.
        mutating func run(_ replies: [DHCPv4Message]) {
            var replies = replies
            for _ in 0..<40 {
                for reply in replies { take(reply) }
                answerProbes()
                replies = harness.takeReplies()
                if replies.isEmpty {
                    guard harness.server.nextDeadline != nil else { break }
                    replies = harness.wait(.milliseconds(50))
                }
            }
            journal += harness.outbox.changes
            harness.outbox.changes = []
            harness.outbox.notes = []
        }

        private mutating func take(_ reply: DHCPv4Message) {
            guard let index = clients.firstIndex(where: { $0.hardware == reply.clientHardware }), !clients[index].isGone
            else { return }
            switch reply.kind {
            case .offer: clients[index].offer = reply
            case .ack:
                clients[index].held = (reply.yourAddress, harness.now + Int64(reply.seconds(.leaseTime) ?? 0) * second)
            case .nak: clients[index].held = nil
            default: break
            }
        }

        /// The probes among the frames that were sent are answered by the clients that use the address.
        private mutating func answerProbes() {
            for client in clients {
                guard let held = client.held, client.isUsing(held.address, harness.now) else { continue }
                harness.arp(.reply, from: client.hardware, held.address, at: client.port)
            }
        }

        private mutating func send(
            _ index: Int, _ kind: DHCPv4Message.Kind, _ change: (inout DHCPv4Message) -> Void = { _ in }
        ) {
            let client = clients[index]
            let source = kind == .release ? client.held?.address ?? .any : .any
            let name = makeName()
            let message = harness.message(kind, client.hardware) {
                $0[.hostName] = name
                change(&$0)
            }
            run(harness.send(message, from: source, at: client.port))
        }

        /// One of few names, or none.
        private mutating func makeName() -> [UInt8]? {
            let number = Int.random(in: 0..<6, using: &random)
            return number == 0 ? nil : Array("name\(number)".utf8)
        }

        mutating func step() {
            let index = Int.random(in: 0..<clients.count, using: &random)
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<6:
                clients[index].isGone = false
                send(index, .discover)
            case 6..<12:
                guard let offer = clients[index].offer else { return }
                clients[index].offer = nil
                var request = harness.selecting(offer)
                request[.hostName] = makeName()
                run(harness.send(request, at: clients[index].port))
            case 12, 13:
                guard let held = clients[index].held else { return }
                clients[index].held = nil
                let message = harness.message(.release, clients[index].hardware) { $0.clientAddress = held.address }
                run(harness.send(message, from: held.address, to: ip(1), at: clients[index].port))
            case 14:
                guard let offered = clients[index].offer?.yourAddress ?? clients[index].held?.address else { return }
                clients[index].held = nil
                send(index, .decline) {
                    $0.set(.requestedAddress, [offered])
                    $0.set(.serverIdentifier, [ip(1)])
                }
            case 15:
                // INIT-REBOOT with any address.
                let address = clients[index].held?.address ?? ip(Int.random(in: 2..<poolSize + 2, using: &random))
                send(index, .request) { $0.set(.requestedAddress, [address]) }
            case 16:
                // The port goes, with everybody there; they come back elsewhere, or not.
                guard clients[index].port.kind == .guest else { return }
                let number = clients[index].port.number
                harness.server.portDetached(number, now: harness.now)
                nextPort += 1
                for other in clients.indices where clients[other].port.number == number {
                    clients[other].port = ClientPort(nextPort, .guest)
                    clients[other].isGone = true
                    clients[other].held = nil
                    clients[other].offer = nil
                }
            case 17:
                guard let held = clients[index].held, held.ends > harness.now else { return }
                let name = makeName()
                let message = harness.message(.request, clients[index].hardware) {
                    $0.clientAddress = held.address
                    $0[.hostName] = name
                }
                run(harness.send(message, from: held.address, to: ip(1), at: clients[index].port))
            case 18: run(harness.wait(Int64.random(in: 1...20, using: &random) * second))
            default: run(harness.wait(Int64.random(in: 1...700, using: &random) * second))
            }
        }
    }

    private func check(_ network: Network, _ label: String) {
        let now = network.harness.now, table = network.harness.server.table
        // No address belongs to two clients that are there.
        var users: [IPv4Address: MACAddress] = [:]
        for client in network.clients where !client.isGone {
            guard let held = client.held, held.ends > now else { continue }
            #expect(
                users[held.address] == nil,
                "\(label): \(held.address) belongs to \(client.hardware) and \(users[held.address]?.description ?? "")")
            users[held.address] = client.hardware
            #expect(table.lease(on: held.address)?.hardware == client.hardware, "\(label): the table knows")
        }
        // No name belongs to two leases that run.
        let names = table.leases.filter { $0.expires > now }.compactMap(\.name)
        #expect(Set(names).count == names.count, "\(label): \(names)")
        // No port exceeds its share: half of the pool for a guest's.
        for port in Set(network.clients.map(\.port)) {
            let held = table.usage(of: port, now: now).held
            let most =
                switch port.kind {
                case .guest: (network.poolSize + 1) / 2
                case .trunk: network.poolSize - network.poolSize / 5
                case .network: network.poolSize
                }
            #expect(held <= most, "\(label): port \(port.number) has \(held) of \(network.poolSize)")
        }
        // The journal comes to the same leases.
        let replayed = LeaseJournal.settled(
            network.journal.map { LeaseJournal.Record(lease: $0, ends: ($0.expires - .distantPast).seconds) }
        ).map(\.lease)
        let other = DHCPServer(network.harness.server.configuration, leases: replayed)
        func running(_ leases: [Lease]) -> [Lease] { leases.filter { $0.expires > now } }
        #expect(running(other.table.leases) == running(table.leases), "\(label): the journal")
    }

    @Test(arguments: [false, true])
    func randomMessageOrderKeepsInvariants(isJoined: Bool) {
        for seed in Rounds.seeds(60) {
            var network = Network(seed: seed, isJoined: isJoined)
            for step in 0..<250 {
                network.step()
                check(network, "seed \(seed), step \(step)")
            }
        }
    }
}
