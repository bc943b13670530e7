// SPDX-License-Identifier: Apache-2.0

/// An error that a datagram socket has received for a datagram, or that this host has found.
package struct DatagramFailure: Sendable {
    /// The message that has reported an error.
    package struct Message: Sendable {
        /// ICMPv6, not ICMP.
        package let isIPv6: Bool
        /// The type and code of the message.
        package let type: UInt8
        /// The code of the message.
        package let code: UInt8
        /// The router or host that has sent it, without a port; nil if unknown.
        package let sender: SocketAddress?
    }

    /// A positive errno.
    package let code: Int32
    /// nil: this host has found the error.
    package let message: Message?
    /// The MTU of the path, if the datagram was too long for it; otherwise 0.
    package let mtu: UInt32
    /// Where the datagram was sent.
    package let peer: SocketAddress
    /// The start of the datagram after its UDP header, as far as it was returned.
    package let payload: [UInt8]
}
