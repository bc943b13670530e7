// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Wire

/// The host's network interfaces.
package enum NetworkInterfaces {
    /// The cookie that identifies the process's network namespace (SO_NETNS_COOKIE); 0 on kernels before 5.14.
    package static var namespaceCookie: UInt64 { platform_network_namespace() }

    /// The longest name, in bytes.
    package static let maximumNameLength = Int(IFNAMSIZ) - 1

    /// Whether the text is a valid interface name that firewall rules can contain.
    package static func isName(_ name: String) -> Bool {
        (1...maximumNameLength).contains(name.utf8.count) && name != "." && name != ".."
            && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f }
            && !name.contains { "/:%\"\\".contains($0) }
    }

    /// The index of an interface; nil if there is none with this name.
    package static func index(of name: String) -> UInt32? {
        let index = unsafe if_nametoindex(name)
        return index == 0 ? nil : index
    }

    /// The name of an interface; nil if there is none with this index.
    package static func name(of index: UInt32) -> String? {
        var buffer = [CChar](repeating: 0, count: Int(IFNAMSIZ))
        guard unsafe if_indextoname(index, &buffer) != nil else { return nil }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// All interfaces by name, in the system's order.
    package static func names() -> [String] {
        guard let list = unsafe if_nameindex() else { return [] }
        defer { unsafe if_freenameindex(list) }
        var names: [String] = []
        var entry = unsafe list
        while unsafe entry.pointee.if_index != 0 {
            names.append(unsafe String(cString: entry.pointee.if_name))
            unsafe entry += 1
        }
        return names
    }

    /// The IPv4 addresses of the host with their networks.
    package static func addresses() throws(SystemError) -> [(
        interface: String, address: IPv4Address, network: IPv4Network
    )] {
        var list: UnsafeMutablePointer<ifaddrs>?
        try SystemError.checkErrno(unsafe getifaddrs(&list), "getifaddrs")
        defer { unsafe freeifaddrs(list) }
        var found: [(interface: String, address: IPv4Address, network: IPv4Network)] = []
        var entry = unsafe list
        while let current = unsafe entry {
            if let address = unsafe ipv4(current.pointee.ifa_addr), let mask = unsafe ipv4(current.pointee.ifa_netmask),
                let network = IPv4Network(containing: address, mask: mask)
            {
                found.append((unsafe String(cString: current.pointee.ifa_name), address, network))
            }
            unsafe entry = current.pointee.ifa_next
        }
        return found
    }

    /// The networks of the host's IPv6 addresses, one for each.
    package static func networks6() throws(SystemError) -> [IPv6Network] { try addresses6().map(\.network) }

    /// The IPv6 addresses of the host with their networks.
    package static func addresses6() throws(SystemError) -> [(
        interface: String, address: IPv6Address, network: IPv6Network
    )] {
        var list: UnsafeMutablePointer<ifaddrs>?
        try SystemError.checkErrno(unsafe getifaddrs(&list), "getifaddrs")
        defer { unsafe freeifaddrs(list) }
        var found: [(interface: String, address: IPv6Address, network: IPv6Network)] = []
        var entry = unsafe list
        while let current = unsafe entry {
            if let address = unsafe ipv6(current.pointee.ifa_addr), let mask = unsafe ipv6(current.pointee.ifa_netmask)
            {
                let length =
                    (~mask.high).leadingZeroBitCount < 64
                    ? (~mask.high).leadingZeroBitCount : 64 + (~mask.low).leadingZeroBitCount
                found.append(
                    (
                        unsafe String(cString: current.pointee.ifa_name), address,
                        IPv6Network(containing: address, prefixLength: length)
                    ))
            }
            unsafe entry = current.pointee.ifa_next
        }
        return found
    }

    private static func ipv6(_ address: UnsafeMutablePointer<sockaddr>?) -> IPv6Address? {
        guard let address = unsafe address, unsafe address.pointee.sa_family == sa_family_t(AF_INET6) else {
            return nil
        }
        return unsafe address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
            var bytes = unsafe $0.pointee.sin6_addr
            return unsafe withUnsafeBytes(of: &bytes) { raw in
                var high: UInt64 = 0, low: UInt64 = 0
                for index in 0..<8 {
                    unsafe high = high << 8 | UInt64(raw[index])
                    unsafe low = low << 8 | UInt64(raw[8 + index])
                }
                return IPv6Address(high, low)
            }
        }
    }

    private static func ipv4(_ address: UnsafeMutablePointer<sockaddr>?) -> IPv4Address? {
        guard let address = unsafe address, unsafe address.pointee.sa_family == sa_family_t(AF_INET) else { return nil }
        return unsafe address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
            unsafe IPv4Address(UInt32(bigEndian: $0.pointee.sin_addr.s_addr))
        }
    }

    /// Changes the given attributes of a link (Linux); `up` brings it up or takes it down.
    package static func configure(
        _ index: UInt32, mac: MACAddress? = nil, mtu: Int? = nil, group: UInt32? = nil, bridge: UInt32? = nil,
        up: Bool? = nil
    ) throws(SystemError) {
        var change = platform_link_change()
        change.mtu = UInt32(mtu ?? 0)
        change.up = up == true ? 1 : 0
        change.down = up == false ? 1 : 0
        change.master = bridge ?? 0
        change.group = group ?? 0
        if let bytes = mac?.bytes {
            change.set_mac = 1
            change.mac = (bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5])
        }
        try SystemError.check(
            unsafe platform_link_change(index, &change), "configure", name(of: index) ?? "interface \(index)")
    }

    /// Adds an address to an interface (Linux).
    package static func add(_ address: IPv4Address, prefixLength: Int, to index: UInt32) throws(SystemError) {
        try SystemError.check(
            platform_address_add(index, address.value, UInt8(prefixLength)), "add address \(address) to",
            name(of: index) ?? "interface \(index)")
    }

    /// Adds an IPv6 address to an interface, usable at once (Linux). Succeeds if the interface has it already.
    package static func add(_ address: IPv6Address, prefixLength: Int, to index: UInt32) throws(SystemError) {
        let result = unsafe address.bytes.withUnsafeBufferPointer {
            unsafe platform_address6_add(index, $0.baseAddress, UInt8(prefixLength))
        }
        if result == -Errno.exists { return }
        try SystemError.check(result, "add address \(address) to", name(of: index) ?? "interface \(index)")
    }

    /// A descriptor that becomes readable when links, addresses, routes, routing rules or forwarding settings change
    /// (Linux).
    package static func monitor() throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_network_monitor(), "watch the network")
    }

    /// A descriptor that becomes readable when firewall rules change (Linux).
    package static func firewallMonitor() throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_firewall_monitor(), "watch the firewall")
    }

    /// The names of the tables of nftables that a message of `firewallMonitor` is about.
    package static func firewallTables(in notice: [UInt8]) -> Set<String> {
        // Each name is a part of the message, and longer than its terminating byte.
        let names = unsafe [UInt8](unsafeUninitializedCapacity: notice.count) { names, count in
            count = unsafe notice.withUnsafeBufferPointer { notice in
                unsafe names.withMemoryRebound(to: CChar.self) { names in
                    unsafe platform_firewall_tables(
                        notice.baseAddress, notice.count, names.baseAddress, names.count)
                }
            }
        }
        return Set(names.split(separator: 0).map { String(decoding: $0, as: UTF8.self) })
    }

    /// Creates a TAP (Linux). It lives as long as the descriptor.
    /// - Returns: the descriptor, and the offloads that are active: whether the kernel passes GSO frames and partial
    ///   checksums.
    package static func openTAP(
        named name: String, creating: Bool
    ) throws(SystemError) -> (descriptor: Int32, offloads: UInt32) {
        var offloads: UInt32 = 0
        let descriptor = try SystemError.check(
            unsafe platform_tap_open(name, creating ? 1 : 0, &offloads), creating ? "create TAP" : "open TAP", name)
        return (descriptor, offloads)
    }

    /// Configures a TAP that another program has opened (Linux). Returns its name.
    package static func adoptTAP(_ descriptor: borrowing Descriptor) throws(SystemError) -> String {
        var name = [CChar](repeating: 0, count: 16), offloads: UInt32 = 0
        try SystemError.check(
            unsafe name.withUnsafeMutableBufferPointer {
                unsafe platform_tap_adopt(descriptor.raw, $0.baseAddress, &offloads)
            }, "set up the TAP")
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Opens a packet socket on an interface in promiscuous mode (Linux). The caller owns the descriptor.
    package static func openPacketSocket(on index: UInt32) throws(SystemError) -> Descriptor {
        try Descriptor(
            checking: platform_packet_open(index), "open a packet socket on", name(of: index) ?? "interface \(index)")
    }
}
