// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// The options of a reply that describe the network, and those that the user has set.
///
/// # Which options, and in which order
///
/// The subnet mask, the router, the name servers and an unusual MTU are for every client, because it cannot communicate
/// without them. Every other option is for clients that request it (option 55), and for clients that send no list. This
/// holds for the user's options, too.
///
/// The subnet mask is first (RFC 2132 section 3.3). Then come the requested options in the order of the request (RFC
/// 2131 section 4.3.1), and then the rest. An option that does not fit into the client's longest message (option
/// 57) is left out, so that the ones that the client requests first have precedence. The search list gets the room that
/// all others leave, for as many of its names as fit.
struct NetworkDescription {
    /// Clients assume this MTU unless a reply has another.
    private static let usualMTU: UInt16 = 1500
    /// What iPXE sends as its user class (option 77).
    private static let ipxeClass = Array("iPXE".utf8)

    private let configuration: DHCPConfiguration
    private let request: DHCPv4Message
    /// Values by code, in the order for clients that send no list.
    private var options: [(code: UInt8, value: [UInt8])] = []
    /// Codes that every client gets.
    private var essential: Set<UInt8> = []

    init(_ configuration: DHCPConfiguration, for request: DHCPv4Message) {
        self.configuration = configuration
        self.request = request
        add(.subnetMask, configuration.network.mask.bytes, isEssential: true)
        add(.router, configuration.router.map(\.bytes), isEssential: true)
        add(.domainNameServer, configuration.nameServers.flatMap(\.bytes), isEssential: true)
        let mtu = configuration.mtu
        add(
            .interfaceMTU, [UInt8(mtu >> 8), UInt8(truncatingIfNeeded: mtu)],
            isEssential: mtu != NetworkDescription.usualMTU)
        add(.broadcastAddress, configuration.network.broadcast.bytes)
        add(.hostName, fixedName.map { Array($0.description.utf8) })
        add(.domainName, configuration.domain.map { Array($0.utf8) })
        add(.domainSearch, configuration.searchDomains.compactMap { DNSName($0) }.flatMap(\.bytes))
        if let file = bootFile {
            if !BootFiles.isURL(file) { add(.serverName, Array(configuration.server.description.utf8)) }
            add(.bootFile, Array(file.utf8))
        }
        for one in configuration.guestOptions { replace(one) }
    }

    private mutating func add(_ option: DHCPOption, _ value: [UInt8]?, isEssential: Bool = false) {
        guard let value, !value.isEmpty else { return }
        options.append((option.rawValue, value))
        if isEssential { essential.insert(option.rawValue) }
    }

    private mutating func replace(_ option: GuestOption) {
        if let index = options.firstIndex(where: { $0.code == option.code }) {
            options[index].value = option.value
        } else {
            options.append((option.code, option.value))
            // A router or name server that the user has set, on a network that has none otherwise.
            if option.code == DHCPOption.router.rawValue || option.code == DHCPOption.domainNameServer.rawValue {
                essential.insert(option.code)
            }
        }
    }

    /// Adds the options, and the fields for booting.
    func describe(in message: inout DHCPv4Message) {
        let mask = DHCPOption.subnetMask.rawValue
        if let requested = request[.parameterRequestList] {
            let rest = options.map(\.code).filter(essential.contains)
            for code in [mask] + requested + rest where message[code: code] == nil { message[code: code] = value(code) }
        } else {
            for (code, value) in options where message[code: code] == nil { message[code: code] = value }
        }
        setBootFields(in: &message)
    }

    /// Shortens the search list to what fits beside the other options, whole names at a time.
    /// - Parameter limit: bytes of the message.
    /// - Returns: the names that do not fit.
    func fitSearchList(in message: inout DHCPv4Message, limit: Int) -> [DNSName] {
        guard let names = message[.domainSearch].flatMap(DHCPSearchList.names) else { return [] }
        var others = message, list = DHCPSearchList(), omitted: [DNSName] = []
        others[.domainSearch] = nil
        let room = others.room(limit: limit)
        for name in names where !list.append(name, room: room) { omitted.append(name) }
        message.replace(.domainSearch, with: list.bytes.isEmpty ? nil : list.bytes)
        return omitted
    }

    private func value(_ code: UInt8) -> [UInt8]? { options.first { $0.code == code }?.value }

    /// The name that a reservation fixes for the client.
    private var fixedName: GuestName? {
        configuration.reservations.first { $0.name != nil && $0.hardware == request.clientHardware }?.name
    }

    // MARK: Booting

    /// The file that the client boots from; nil if there is none for it.
    private var bootFile: String? {
        guard let boot = configuration.boot else { return nil }
        let types = request[.clientArchitecture] ?? []
        let architectures = stride(from: 0, to: types.count - 1, by: 2).map {
            UInt16(types[$0]) << 8 | UInt16(types[$0 + 1])
        }
        return boot.name(architectures: architectures, isIPXE: isIPXE)
    }

    /// Whether the client is iPXE: by its user class, as plain text or one of the classes of RFC 3004, or by its own
    /// options.
    private var isIPXE: Bool {
        if request[.ipxe] != nil { return true }
        guard let value = request[.userClass] else { return false }
        return value == NetworkDescription.ipxeClass || NetworkDescription.hasIPXEClass(value)
    }

    /// Whether one of the classes, each after its length (RFC 3004 section 4), is that of iPXE.
    private static func hasIPXEClass(_ value: [UInt8]) -> Bool {
        var rest = value[...], isFound = false
        while let length = rest.popFirst() {
            guard length <= rest.count else { return false }
            if rest.prefix(Int(length)).elementsEqual(ipxeClass) { isFound = true }
            rest.removeFirst(Int(length))
        }
        return isFound
    }

    /// Firmware reads `siaddr` and `file` (RFC 951), whether it also requests options 66 and 67 or not.
    private func setBootFields(in message: inout DHCPv4Message) {
        guard let file = value(DHCPOption.bootFile.rawValue) else { return }
        if file.count <= DHCPv4Message.longestBootFile { message.bootFile = file }
        guard let server = value(DHCPOption.serverName.rawValue) else { return }
        let text = String(decoding: server, as: UTF8.self)
        if let address = IPv4Address(text) { message.nextServer = address } else { message.serverName = server }
    }
}
