// SPDX-License-Identifier: Apache-2.0

/// What is known of a frame while it is classified.
struct FrameContext: BitwiseCopyable {
    /// Its index in the batch.
    let index: Int
    let ingress: Int
    /// The role of the ingress port.
    let role: PortRole
    /// The destination is a group address.
    let isGroup: Bool
    /// The kinds of ports that it may leave by.
    var reach: PortClasses
    var isTagged: Bool
    /// The VLAN that it is in; the VLAN of its tag if the switch is not VLAN-aware.
    var vlan: UInt16
}

/// What is known of a batch while it is dispatched.
struct IngressInfo: BitwiseCopyable {
    let port: Int
    /// The frames that were flooded, a bit each.
    var flooded: UInt64 = 0
}
