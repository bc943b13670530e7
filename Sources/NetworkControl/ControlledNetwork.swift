// SPDX-License-Identifier: Apache-2.0
import CaptureService
import DHCPService
import EventLoop
import Logging
import NameService
import NetworkConfiguration
import NetworkReports
import RouterService
import Sessions
import Switching
import Uplink

/// The network that clients of the control socket see and change. Control thread only.
package protocol ControlledNetwork: AnyObject {
    /// With the changes that were made while the network runs.
    var configuration: Configuration { get set }
    var loop: ControlLoop { get }
    var logger: Logger { get }
    /// The control plane of the switch.
    var control: SwitchControl { get }
    /// nil before it is made.
    var session: (any NetworkSession)? { get }
    /// nil before they are made.
    var listeners: ListenerSession? { get }
    /// nil without an uplink.
    var uplink: (any Uplink)? { get }
    /// Why the uplink was chosen.
    var uplinkReason: String { get }
    /// nil if the network has no DHCP server of this process.
    var dhcpServer: DHCPServerRunner? { get }
    /// nil if guests resolve no names here.
    var names: DNSGateway? { get }
    /// nil if guests have no IPv6 of this process.
    var router: RouterService? { get }
    var captures: NetworkCaptures { get }
    var publishedGuests: PublishedGuests { get }
    var refusals: EgressRefusals { get }
}
