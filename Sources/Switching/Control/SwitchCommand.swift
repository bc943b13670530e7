// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// A command of the control thread, which the first worker executes.
enum SwitchCommand: Sendable {
    case attach(PortNumber, PortConfiguration, PortCounters)
    case detach(PortNumber)
    /// Report `unreachable`, `goodbye` and `firstFrame` events again.
    case rearm(PortNumber)
    case probe(PortNumber)
    case send(PortNumber, [UInt8])
    case addStatic(MACAddress, PortNumber)
    case policy(ServicePolicy)
    case rules(GuestRules)
    case names(NameService?)
    case boot(BootService?)
    case router(Bool)
    case bindings([LeaseBinding])
    case reserved([IPv4Address: MACAddress])
    case reserved6([IPv6Address: MACAddress])
    case vlans(PortNumber, untagged: UInt16, tagged: [UInt16])
    case vlanAware(Bool)
    case hub(Bool)
    case isolation(Bool)
    case isolatePort(PortNumber, Bool)
    case limit(PortNumber, RateLimit?)
    /// The slot; nil to end the capture.
    case capture(Int, CaptureTap?, CaptureSelection)
    case ageing(TimeAmount)
    case addresses(Promise<[KnownAddress]>)
    case sources(Promise<[KnownSource]>)
    case barrier(Promise<Bool>)
    case stop
}
