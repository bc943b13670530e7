// SPDX-License-Identifier: Apache-2.0

/// Groups of network interfaces (`ip link set group`), by which nftables rules match many interfaces at once.
package enum LinkGroup {
    /// The group of the TAPs of all instances ("vd").
    package static let taps: UInt32 = 0x7664
}
