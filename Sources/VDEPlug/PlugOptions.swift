// SPDX-License-Identifier: Apache-2.0

/// Options of a session at a switch.
package struct PlugOptions: Sendable {
    /// The group that may write to the client's data socket; nil: the rule of libvdeplug.
    package var group: UInt32?
    /// The client's description, which the switch's `port/allprint` shows.
    package var description: String

    package init(group: UInt32? = nil, description: String) {
        self.group = group
        self.description = description
    }
}
