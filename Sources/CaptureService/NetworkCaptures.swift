// SPDX-License-Identifier: Apache-2.0
import Capture
import EventLoop
import Logging
import Platform
import Switching
import Timing
import UserUplink
import VDESwitch

// Theory of operation: captures
// =============================
//
//     workers          record frames of the selected ports in a `CaptureTap`, a ring of fixed size (Dispatcher+Detour)
//     a thread         for each capture takes them from there, and writes pcapng (`CaptureWriter`)
//     control thread   starts and ends captures, and gives the ports their names (this file)
//
// The file of `--pcap` is opened at the start with the rights of the user that called sudo. The captures of clients go
// to their connections to the control socket: the client opens the file, and this process opens none for it.

/// The captures of a network. Control thread only.
package final class NetworkCaptures {
    /// What a capture records.
    package struct Request {
        /// The ports of the frames.
        package var selection = CaptureSelection.all
        /// Frames must pass it; nil for all.
        package var filter: FilterProgram?
        /// Bytes of each frame.
        package var snapLength = NetworkCaptures.snapLengths.upperBound
        /// Frames; nil for no limit.
        package var limit: Int?

        package init() {}
    }

    /// Bytes of each frame that a capture may record; the last one stands for whole frames.
    package static let snapLengths = 64...262_144
    /// How often names and places of guests are looked at.
    private static let interval = TimeAmount.seconds(1)
    /// How long the end of the network waits for a capture.
    private static let closingTimeout = TimeAmount.seconds(3)

    private struct Running {
        let tap: CaptureTap
        let writer: CaptureWriter
        var selection: CaptureSelection
        /// Where a guest is now; nil if the selection does not change.
        let follow: (() -> CaptureSelection)?
        let onEnd: (CaptureWriter.End) -> Void
    }

    private let control: SwitchControl
    private let loop: ControlLoop
    private var running: [Int: Running] = [:]
    private var timer: ControlLoop.TimerID?
    /// What the ports are called now.
    private let interfaces: () -> [PortNumber: CaptureWriter.Interface]

    package init(
        _ control: SwitchControl, loop: ControlLoop,
        interfaces: @escaping () -> [PortNumber: CaptureWriter.Interface]
    ) {
        self.control = control
        self.loop = loop
        self.interfaces = interfaces
    }

    /// No further capture can be started.
    package var isFull: Bool { running.count >= SwitchControl.captureCapacity }

    /// Starts a capture.
    /// - Parameters:
    ///   - follow: where the frames are recorded from now on, if the place may change.
    ///   - onEnd: called when it has ended by itself, or by its peer.
    /// - Precondition: `isFull` is false.
    /// - Throws: if the process or the system has too many open files or threads.
    package func start(
        _ request: Request, to descriptor: consuming Descriptor, _ target: CaptureWriter.Target,
        follow: (() -> CaptureSelection)? = nil, onEnd: @escaping (CaptureWriter.End) -> Void
    ) throws(SystemError) {
        let slot = (0..<SwitchControl.captureCapacity).first { running[$0] == nil }!
        let tap = try CaptureTap(filter: request.filter, snapLength: request.snapLength)
        let interfaces = interfaces()
        let described = interfaces.keys.filter { port in
            let group = control.identity(of: port)?.group ?? 0
            return control.role(of: port).map { request.selection.contains(port, $0, group: group) } ?? false
        }.sorted()
        let writer = try CaptureWriter(
            tap, to: descriptor, target, limit: request.limit, describing: described
        ) { [control] in NetworkCaptures.interface($0, control) }
        writer.setInterfaces(interfaces)
        try loop.watch(writer.end.descriptor) { [unowned self] _ in ended(slot) }
        // The head of the file, which a client may wait for, is written when frames are recorded.
        control.setCapture(slot, tap, request.selection)
        _ = control.barrier()
        do throws(SystemError) {
            try writer.start()
        } catch {
            control.setCapture(slot, nil, .none)
            loop.unwatch(writer.end.descriptor)
            throw error
        }
        running[slot] = Running(tap: tap, writer: writer, selection: request.selection, follow: follow, onEnd: onEnd)
        if timer == nil { schedule() }
    }

    /// What a port is called, as far as the switch has its name: clients that have just come, and uplinks.
    package static func interface(_ port: PortNumber, _ control: SwitchControl) -> CaptureWriter.Interface {
        let identity = control.identity(of: port)
        let number = VirtualSwitch.port(ofGroup: identity?.group ?? 0).map { "port \($0)" }
        let name =
            uplinkName(of: port, identity?.name, control) ?? number ?? identity?.name ?? "a port that is gone"
        return CaptureWriter.Interface(name: name, description: identity?.name ?? "")
    }

    /// `uplink`, or `uplink6` for the NAT beside a TAP, which carries IPv6; nil for other ports.
    /// - Parameter name: what the switch calls the port.
    package static func uplinkName(of port: PortNumber, _ name: String?, _ control: SwitchControl) -> String? {
        guard control.role(of: port) == .uplink else { return nil }
        return name == UserUplink.nameBesideTAP ? "uplink6" : "uplink"
    }

    private func ended(_ slot: Int) {
        guard let one = running.removeValue(forKey: slot) else { return }
        loop.unwatch(one.writer.end.descriptor)
        control.setCapture(slot, nil, .none)
        one.onEnd(one.writer.end.value ?? .abandoned)
    }

    /// Ports or guests have come, gone, or changed their names.
    package func refresh() {
        guard !running.isEmpty else { return }
        let interfaces = interfaces()
        for (slot, one) in running {
            one.writer.setInterfaces(interfaces)
            guard let selection = one.follow?(), selection != one.selection else { continue }
            running[slot]?.selection = selection
            control.setCapture(slot, one.tap, selection)
        }
    }

    private func schedule() {
        timer = loop.schedule(after: NetworkCaptures.interval) { [unowned self] in
            timer = nil
            refresh()
            if !running.isEmpty { schedule() }
        }
    }

    /// Ends all captures after what they have recorded, and waits for that.
    package func finish() {
        loop.cancel(timer)
        for one in running.values { one.writer.finish() }
        let deadline = BootClock.now + NetworkCaptures.closingTimeout
        for (slot, one) in running {
            _ = one.writer.end.wait(until: deadline)
            ended(slot)
        }
    }
}
