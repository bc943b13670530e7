// SPDX-License-Identifier: Apache-2.0

/// Which ports are tagged members of which VLANs (802.1Q: the member set, less the untagged set): a bit for each port
/// and VLAN, allocated when it is first needed.
@safe
struct VLANMembership: ~Copyable {
    private static let words = 4096 / 64
    private let ports: Int
    private var bits: UnsafeMutablePointer<UInt64>?

    init(ports: Int) { self.ports = ports }

    deinit { unsafe bits?.deallocate() }

    func contains(_ port: Int, _ vlan: UInt16) -> Bool {
        guard let bits = unsafe bits else { return false }
        precondition(port < ports && vlan < 4096)
        return unsafe bits[port * VLANMembership.words + Int(vlan) / 64] & 1 << (UInt64(vlan) % 64) != 0
    }

    mutating func set(_ port: Int, _ vlan: UInt16, _ isMember: Bool) {
        precondition(port < ports && vlan < 4096)
        if unsafe bits == nil {
            guard isMember else { return }
            unsafe bits = .allocate(capacity: ports * VLANMembership.words)
            unsafe bits!.initialize(repeating: 0, count: ports * VLANMembership.words)
        }
        let word = port * VLANMembership.words + Int(vlan) / 64
        let bit: UInt64 = 1 << (UInt64(vlan) % 64)
        if isMember { unsafe bits![word] |= bit } else { unsafe bits![word] &= ~bit }
    }

    mutating func removeAll(of port: Int) {
        guard unsafe bits != nil else { return }
        for word in port * VLANMembership.words..<(port + 1) * VLANMembership.words { unsafe bits![word] = 0 }
    }
}
