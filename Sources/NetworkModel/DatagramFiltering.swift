// SPDX-License-Identifier: Apache-2.0

/// Which datagrams from outside reach a guest's UDP port that has sent something (RFC 4787 section 5).
package enum DatagramFiltering: String, CaseIterable, Sendable {
    /// From addresses to which the port has sent: "address-dependent".
    case address
    /// From any address: "endpoint-independent", for peer-to-peer programs and games.
    case endpoint
}
