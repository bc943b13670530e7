// SPDX-License-Identifier: Apache-2.0
import CVmnet
import FrameIO
import NetworkModel
import Platform
import Timing
import Uplink
import VmnetUplink
import Wire

/// vmnet.framework on a Mac; on Linux the library that is linked in its place.
package struct VmnetFramework: VmnetProvider {
    /// How long a start may take. The framework itself has no timeout.
    private let startTimeout: TimeAmount

    /// - Parameter startTimeout: how long a start may take.
    package init(startTimeout: TimeAmount = .seconds(10)) { self.startTimeout = startTimeout }

    package func bridgeableInterfaces() -> [String] {
        var names = [CChar](repeating: 0, count: 4096)
        let count = unsafe names.withUnsafeMutableBufferPointer { unsafe cvmnet_bridgeable($0.baseAddress, $0.count) }
        guard count > 0 else { return [] }
        return names.split(separator: 0).prefix(Int(count)).map {
            String(decoding: $0.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }

    package var hasVirtioHeaders: Bool { cvmnet_has_virtio_header() != 0 }

    package var hasNetworkObjects: Bool { cvmnet_has_network_objects() != 0 }

    package var isServiceRegistered: Bool { cvmnet_service_is_registered() != 0 }

    package func start(_ options: VmnetOptions) throws(VmnetError) -> any VmnetInterface {
        let signal: Box<Wakeup>
        do throws(SystemError) {
            signal = Box(try Wakeup())
        } catch {
            throw VmnetError(status: 0, description: error.description)
        }
        var interface: OpaquePointer?
        var parameters = cvmnet_parameters()
        let result = unsafe VmnetFramework.withOptions(options) {
            unsafe cvmnet_start(
                $0, signal.value.signalDescriptor, UInt64(startTimeout.nanoseconds), &interface, &parameters)
        }
        guard result == 0, let started = unsafe interface else {
            let isRoot = CurrentProcess.effectiveUser == 0
            if result < 0 && result != -Errno.timedOut {
                throw VmnetError(
                    status: 0, description: SystemError(code: -result, "start a vmnet interface").description)
            }
            let status: Int32 = result > 0 ? result : VmnetStatus.timedOut
            if parameters.failed_rule >= 0 {
                throw VmnetStatus.failure(
                    status, publishing: options.forwardings[Int(parameters.failed_rule)].published)
            }
            throw VmnetStatus.failure(status, starting: options, isRoot: isRoot, bridgeable: bridgeableInterfaces())
        }
        return unsafe StartedInterface(
            started, VmnetFramework.parameters(parameters, hasOffload: options.offload != .none), signal,
            headerLength: Int(parameters.header),
            // Apple does not document whether the maximum includes the header. This assumes that it does.
            longest: options.offload == .none ? 0 : Int(clamping: parameters.maximum_frame) - Int(parameters.header),
            stopTimeout: min(startTimeout / 2, .seconds(3)))
    }

    /// Converts the options to the C structure, which is valid during the call of `body`.
    private static func withOptions(_ options: VmnetOptions, _ body: (UnsafePointer<cvmnet_options>) -> Int32) -> Int32
    {
        var raw = unsafe cvmnet_options()
        var interface = ""
        switch options.mode {
        case .host: unsafe raw.mode = UInt32(CVMNET_HOST)
        case .shared: unsafe raw.mode = UInt32(CVMNET_SHARED)
        case .bridged(let name):
            unsafe raw.mode = UInt32(CVMNET_BRIDGED)
            interface = name
        }
        unsafe raw.mtu = UInt64(options.mtu ?? 0)
        unsafe raw.isolation = options.isIsolated ? 1 : 0
        unsafe raw.offload =
            switch options.offload {
            case .none: Int32(CVMNET_NO_OFFLOAD)
            case .plain: Int32(CVMNET_PLAIN_OFFLOAD)
            case .virtio: Int32(CVMNET_VIRTIO_OFFLOAD)
            }
        unsafe raw.network_object = options.needsNetworkObject ? 1 : 0
        unsafe raw.without_dhcp = options.disablesDHCP ? 1 : 0
        // All texts and identifiers are in one allocation, each at its offset.
        var memory: [UInt8] = []
        func place(_ bytes: [UInt8]?) -> Int? {
            guard let bytes, !bytes.isEmpty else { return nil }
            defer { memory += bytes }
            return memory.count
        }
        func text(_ string: String?) -> [UInt8]? { string.flatMap { $0.isEmpty ? nil : Array($0.utf8) + [0] } }
        let network = options.network
        let offsets = [
            place(text(interface)), place(text(network?.gateway.description)),
            place(text(network?.lastLease.description)), place(text(network?.network.mask.description)),
            place(text(options.nat66Prefix)), place(options.interfaceID), place(options.networkID),
            place(text(options.externalInterface)),
        ]
        let rules = options.forwardings.map(\.rule)
        let reservations = options.reservations.map { one in
            cvmnet_reservation(mac: bytes6(one.hardware.bytes), address: bytes4(one.address.bytes))
        }
        return unsafe memory.withUnsafeBufferPointer { bytes in
            func pointer(_ index: Int) -> UnsafePointer<UInt8>? {
                guard let offset = offsets[index], let base = bytes.baseAddress else { return nil }
                return unsafe base + offset
            }
            func string(_ index: Int) -> UnsafePointer<CChar>? {
                unsafe pointer(index).map { unsafe UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self) }
            }
            unsafe raw.interface = string(0)
            unsafe raw.start_address = string(1)
            unsafe raw.end_address = string(2)
            unsafe raw.subnet_mask = string(3)
            unsafe raw.nat66_prefix = string(4)
            unsafe raw.interface_id = pointer(5)
            unsafe raw.network_id = pointer(6)
            unsafe raw.external_interface = string(7)
            unsafe raw.rule_count = Int32(rules.count)
            unsafe raw.reservation_count = Int32(reservations.count)
            return unsafe rules.withUnsafeBufferPointer { rules in
                unsafe reservations.withUnsafeBufferPointer { reservations in
                    unsafe raw.rules = rules.baseAddress
                    unsafe raw.reservations = reservations.baseAddress
                    return unsafe body(&raw)
                }
            }
        }
    }

    /// The framework's parameters, without those that are out of range.
    private static func parameters(_ raw: cvmnet_parameters, hasOffload: Bool) -> UplinkParameters {
        func text<Characters>(_ characters: Characters) -> String {
            unsafe withUnsafeBytes(of: characters) { unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        }
        var network: GuestNetwork?
        if let gateway = IPv4Address(text(raw.start_address)), let mask = IPv4Address(text(raw.subnet_mask)),
            let whole = IPv4Network(containing: gateway, mask: mask)
        {
            network = GuestNetwork(
                gateway: gateway, prefixLength: whole.prefixLength, lastLease: IPv4Address(text(raw.end_address)))
        }
        let mtu =
            (UInt64(IPv4Header.minimumMTU)...UInt64(IPv4Header.maximumPacket)).contains(raw.mtu) ? Int(raw.mtu) : 1500
        // With offload the framework reports the longest GSO frame. Other frames are bounded by the MTU.
        let maximum =
            (UInt64(EthernetHeader.length)...70_000).contains(raw.maximum_frame) && !hasOffload
            ? Int(raw.maximum_frame) : mtu + EthernetHeader.length
        let prefix = text(raw.nat66_prefix)
        return UplinkParameters(
            network: network, mtu: mtu, maximumFrame: maximum, batches: (Int(raw.read_batch), Int(raw.write_batch)),
            nat66Prefix: prefix.isEmpty ? nil : prefix)
    }
}

extension VmnetOptions {
    /// A rule for each published port.
    fileprivate var forwardings: [(published: PublishedPort, rule: cvmnet_rule)] {
        published.flatMap { published -> [(published: PublishedPort, rule: cvmnet_rule)] in
            // Ports of IPv6 do not get here.
            guard case .ipv4(let guest) = published.guest else { return [] }
            return zip(published.ports, published.guestPorts).map { port, guestPort in
                // Protocol numbers of RFC 9293 and RFC 768.
                (
                    published,
                    cvmnet_rule(
                        protocol: published.transport == .tcp ? 6 : 17, address: bytes4(guest.bytes),
                        external_port: port, internal_port: guestPort)
                )
            }
        }
    }
}

private func bytes4(_ bytes: [UInt8]) -> (UInt8, UInt8, UInt8, UInt8) { (bytes[0], bytes[1], bytes[2], bytes[3]) }

private func bytes6(_ bytes: [UInt8]) -> (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8) {
    (bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5])
}

@safe
private final class StartedInterface: VmnetInterface, @unchecked Sendable {
    let parameters: UplinkParameters
    private let raw: OpaquePointer
    private let signal: Box<Wakeup>
    private let headerLength: Int
    private let longest: Int
    private let stopTimeout: TimeAmount
    private let isStopped = Mutex(false)

    init(
        _ raw: OpaquePointer, _ parameters: UplinkParameters, _ signal: Box<Wakeup>, headerLength: Int, longest: Int,
        stopTimeout: TimeAmount
    ) {
        self.headerLength = headerLength
        self.longest = min(longest, FrameBatch.maximumFrameLength)
        self.stopTimeout = stopTimeout
        unsafe self.raw = raw
        self.parameters = parameters
        self.signal = signal
    }

    deinit { try? stop() }

    var device: FrameDevice {
        unsafe FrameDevice(
            context: UnsafeMutableRawPointer(raw), receive: { unsafe cvmnet_receive($0, $1, $2) },
            send: { unsafe cvmnet_send($0, $1, $2, $3) },
            signal: signal.value.signalDescriptor, headerLength: headerLength, maximumGSOFrame: longest,
            mtu: parameters.mtu)
    }

    func wakeupDescriptor() throws(SystemError) -> Descriptor { try signal.value.descriptor.duplicate() }

    func stop() throws(VmnetError) {
        let isFirst = isStopped.withLock { isStopped in
            defer { isStopped = true }
            return !isStopped
        }
        guard isFirst else { return }
        let result = unsafe cvmnet_stop(raw, UInt64(stopTimeout.nanoseconds))
        if result != 0 { throw VmnetStatus.failure(result > 0 ? result : VmnetStatus.timedOut, isRoot: true) }
    }
}
