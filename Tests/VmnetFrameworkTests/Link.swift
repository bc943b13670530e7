// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Timing
import VmnetFramework
import VmnetUplink
import Wire

/// An interface with what is needed to move frames through it.
final class Link {
    let interface: any VmnetInterface
    private let wakeup: Descriptor
    private var batch = FrameBatch(capacity: 64)
    private var receiver: ReceiveVector
    private var sender = SendVector()

    init(_ options: VmnetOptions = VmnetOptions(mode: .shared), startTimeout: TimeAmount = .seconds(1)) throws {
        interface = try VmnetFramework(startTimeout: startTimeout).start(options)
        wakeup = try interface.wakeupDescriptor()
        receiver = ReceiveVector(for: batch)
    }

    /// Sends copies of `frame` in one go. Returns how many were taken, and the errno or status that stopped the next
    /// one.
    func send(_ frame: [UInt8], count: Int = 1) -> (sent: Int, error: Int32) {
        batch.removeAll()
        batch.append(copying: frame.rawSpan)
        sender.removeAll()
        for _ in 0..<count { sender.append(frame: batch[0], of: batch) }
        return sender.send(to: interface.device)
    }

    /// Sends these frames, 64 at most, in one go. Returns as the other does.
    func send(_ frames: [[UInt8]]) -> (sent: Int, error: Int32) {
        batch.removeAll()
        sender.removeAll()
        for frame in frames { batch.append(copying: frame.rawSpan) }
        for index in frames.indices { sender.append(frame: batch[index], of: batch) }
        return sender.send(to: interface.device)
    }

    /// Sends copies of `frame` with an empty virtio header before each.
    func sendWithHeaders(_ frame: [UInt8], count: Int) -> (sent: Int, error: Int32) {
        batch.removeAll()
        batch.append(copying: frame.rawSpan)
        sender.removeAll()
        for _ in 0..<count { PacketIO.append(0, of: &batch, to: &sender, headerLength: 12) }
        return sender.send(to: interface.device)
    }

    /// The frames that come until there are `count`, or an error.
    func receive(_ count: Int, seconds: Double = 5) -> (frames: [[UInt8]], error: Int32) {
        var frames: [[UInt8]] = []
        let deadline = BootClock.now + .fractionalSeconds(seconds)
        while frames.count < count {
            guard wakeup.wait(for: .readable, until: deadline).contains(.readable) else { break }
            Wakeup.drain(wakeup.raw)
            // To the end on every event, whatever kind of events they are.
            while true {
                batch.removeAll()
                let outcome = receiver.receive(from: interface.device, into: &batch)
                if outcome.error != 0 { return (frames, outcome.error) }
                for index in 0..<batch.count {
                    let frame = batch[index]
                    frames.append(batch.bytes(of: frame).copied())
                }
                if batch.count == 0 { break }
            }
        }
        return (frames, 0)
    }

    func stop() throws { try interface.stop() }
}

let guestMAC = MACAddress("52:54:00:00:00:01")!

func question(_ address: String = "192.168.64.1") -> [UInt8] {
    ARPPacket.probe(for: IPv4Address(address)!, from: guestMAC).frame(to: .broadcast)
}

/// The failure of a start, if it fails.
func failure(_ options: VmnetOptions = VmnetOptions(mode: .shared)) -> VmnetError? {
    do throws(VmnetError) {
        let interface = try VmnetFramework(startTimeout: .milliseconds(500)).start(options)
        try interface.stop()
        return nil
    } catch {
        return error
    }
}

extension Link {
    convenience init(mtu: Int) throws {
        var options = VmnetOptions(mode: .shared)
        options.mtu = mtu
        try self.init(options)
    }
}
