// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration

// The options of a start, read without the argument parser.
//
// The parser finds the options of a command by reflection, and looks up how the type of each conforms to its protocols
// in all records of the program. That took half of the instructions of a start (docs/performance.md). So a start reads
// its options by what is below. It reads complete and valid command lines only: the parser gets every other one, and
// finds what is wrong with it, so that messages, help and completions have one source. Tests compare both for every
// option.

/// Options that can be read one by one.
protocol DirectOptions: ParsableArguments {
    /// Gives each option its default.
    mutating func setDefaults()

    /// Sets a flag.
    /// - Returns: false if there is no such flag.
    mutating func set(flag option: Substring) -> Bool

    /// Sets an option with a value.
    /// - Parameter option: without its hyphens.
    /// - Returns: false if there is no such option, or the value is not valid.
    mutating func set(_ option: Substring, _ value: String) -> Bool
}

extension DirectOptions {
    /// All options with their defaults.
    static var defaults: Self {
        var options = Self()
        options.setDefaults()
        return options
    }

    mutating func set(flag option: Substring) -> Bool { false }
}

/// Stores the value that `text` stands for. The last one of several counts.
private func assign<Value: ExpressibleByArgument>(_ text: String, to target: inout Value?) -> Bool {
    guard let value = Value(argument: text) else { return false }
    target = value
    return true
}

private func assign<Value: ExpressibleByArgument>(_ text: String, to target: inout Value) -> Bool {
    guard let value = Value(argument: text) else { return false }
    target = value
    return true
}

private func append<Value: ExpressibleByArgument>(_ text: String, to target: inout [Value]) -> Bool {
    guard let value = Value(argument: text) else { return false }
    target.append(value)
    return true
}

extension Join: DirectOptions {
    mutating func setDefaults() {
        vde = nil
        vdeGroup = nil
        uplink = .auto
        vmnetMode = nil
        vmnetInterface = nil
        bridgeHelper = nil
        vmnetGateway = nil
        vmnetDhcpEnd = nil
        vmnetMask = nil
        vmnetInterfaceId = nil
        vmnetMtu = nil
        tapName = nil
        stateDir = nil
        pidfile = nil
        statsInterval = nil
        logLevel = nil
        logFormat = nil
        version = false
        file = OptionsFileOption.defaults
        own = SwitchOptions.defaults
        listeners = ListenerOptions.defaults
        vmnet = VmnetOptionGroup.defaults
        addresses = AddressOptions.defaults
        leases = LeaseOptions.defaults
        servers = ServerOptions.defaults
        publishing = PublishOptions.defaults
        policy = PolicyOptions.defaults
        controlling = ControlOptions.defaults
        threads = WorkerOptions.defaults
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "vde-group": assign(value, to: &vdeGroup)
        case "uplink": assign(value, to: &uplink)
        case "vmnet-mode": assign(value, to: &vmnetMode)
        case "vmnet-interface": assign(value, to: &vmnetInterface)
        case "bridge-helper": assign(value, to: &bridgeHelper)
        case "vmnet-gateway": assign(value, to: &vmnetGateway)
        case "vmnet-dhcp-end": assign(value, to: &vmnetDhcpEnd)
        case "vmnet-mask": assign(value, to: &vmnetMask)
        case "vmnet-interface-id": assign(value, to: &vmnetInterfaceId)
        case "vmnet-mtu": assign(value, to: &vmnetMtu)
        case "tap-name": assign(value, to: &tapName)
        case "state-dir": assign(value, to: &stateDir)
        case "pidfile": assign(value, to: &pidfile)
        case "stats-interval": assign(value, to: &statsInterval)
        case "log-level": assign(value, to: &logLevel)
        case "log-format": assign(value, to: &logFormat)
        default: false
        }
    }
}

extension SwitchOptions: DirectOptions {
    mutating func setDefaults() {
        isSwitch = false
        vdeMode = nil
        vdeDirmode = nil
        mgmt = nil
        mgmtmode = nil
        rcfile = nil
        vmnetIsolation = false
        limit = nil
        trunk = []
    }

    mutating func set(flag option: Substring) -> Bool {
        switch option {
        case "switch": isSwitch = true
        case "vmnet-isolation": vmnetIsolation = true
        default: return false
        }
        return true
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "vde-mode": assign(value, to: &vdeMode)
        case "vde-dirmode": assign(value, to: &vdeDirmode)
        case "mgmt": assign(value, to: &mgmt)
        case "mgmtmode": assign(value, to: &mgmtmode)
        case "rcfile": assign(value, to: &rcfile)
        case "limit": assign(value, to: &limit)
        case "trunk": append(value, to: &trunk)
        default: false
        }
    }
}

extension ListenerOptions: DirectOptions {
    mutating func setDefaults() {
        stream = []
        dgram = []
        seqpacket = []
        vhostUser = []
        fd = []
        vhostUserFd = []
        netns = []
        idleExit = nil
        socketGroup = nil
        hasProgram = false
    }

    mutating func set(flag option: Substring) -> Bool {
        switch option {
        case "with-program": hasProgram = true
        default: return false
        }
        return true
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "stream": append(value, to: &stream)
        case "dgram": append(value, to: &dgram)
        case "seqpacket": append(value, to: &seqpacket)
        case "vhost-user": append(value, to: &vhostUser)
        case "fd": append(value, to: &fd)
        case "vhost-user-fd": append(value, to: &vhostUserFd)
        case "netns": append(value, to: &netns)
        case "idle-exit": assign(value, to: &idleExit)
        case "socket-group": assign(value, to: &socketGroup)
        default: false
        }
    }
}

extension AddressOptions: DirectOptions {
    mutating func setDefaults() {
        dhcp = nil
        ipv6 = nil
        vmnetDisableDhcp = false
        dhcpHost = []
        domain = nil
        hostDns = nil
        dns = []
        dnsCache = nil
    }

    mutating func set(flag option: Substring) -> Bool {
        switch option {
        case "vmnet-disable-dhcp": vmnetDisableDhcp = true
        default: return false
        }
        return true
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "dhcp": assign(value, to: &dhcp)
        case "ipv6": assign(value, to: &ipv6)
        case "dhcp-host": append(value, to: &dhcpHost)
        case "domain": assign(value, to: &domain)
        case "host-dns": assign(value, to: &hostDns)
        case "dns": append(value, to: &dns)
        case "dns-cache": assign(value, to: &dnsCache)
        default: false
        }
    }
}

extension LeaseOptions: DirectOptions {
    mutating func setDefaults() {
        dhcpOption = []
        leaseTime = nil
        noRouter = false
        boot = []
    }

    mutating func set(flag option: Substring) -> Bool {
        switch option {
        case "no-router": noRouter = true
        default: return false
        }
        return true
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "dhcp-option": append(value, to: &dhcpOption)
        case "lease-time": assign(value, to: &leaseTime)
        case "boot": append(value, to: &boot)
        default: false
        }
    }
}

extension ServerOptions: DirectOptions {
    mutating func setDefaults() {
        allowServer = []
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "allow-server": append(value, to: &allowServer)
        default: false
        }
    }
}

extension PublishOptions: DirectOptions {
    mutating func setDefaults() {
        publish = []
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "publish": append(value, to: &publish)
        default: false
        }
    }
}

extension PolicyOptions: DirectOptions {
    mutating func setDefaults() {
        egress = nil
        allow = []
        deny = nil
        egressLog = false
        checkNames = false
        hostLoopback = false
        udpFiltering = nil
        outbound = []
        proxy = nil
        proxyCredentials = nil
    }

    mutating func set(flag option: Substring) -> Bool {
        switch option {
        case "egress-log": egressLog = true
        case "check-names": checkNames = true
        case "host-loopback": hostLoopback = true
        default: return false
        }
        return true
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "egress": assign(value, to: &egress)
        case "allow": append(value, to: &allow)
        case "deny": assign(value, to: &deny)
        case "udp-filtering": assign(value, to: &udpFiltering)
        case "outbound": append(value, to: &outbound)
        case "proxy": assign(value, to: &proxy)
        case "proxy-credentials": assign(value, to: &proxyCredentials)
        default: false
        }
    }
}

extension ControlOptions: DirectOptions {
    mutating func setDefaults() {
        name = nil
        control = nil
        controlGroup = nil
        controlAllow = nil
        pcap = nil
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "name": assign(value, to: &name)
        case "control": assign(value, to: &control)
        case "control-group": assign(value, to: &controlGroup)
        case "control-allow": assign(value, to: &controlAllow)
        case "pcap": assign(value, to: &pcap)
        default: false
        }
    }
}

extension WorkerOptions: DirectOptions {
    mutating func setDefaults() {
        workers = nil
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "workers": assign(value, to: &workers)
        default: false
        }
    }
}

extension VmnetOptionGroup: DirectOptions {
    mutating func setDefaults() {
        vmnetNetworkIdentifier = nil
        vmnetNat66Prefix = nil
        vmnetOffload = false
        vmnetExternalInterface = nil
    }

    mutating func set(flag option: Substring) -> Bool {
        switch option {
        case "vmnet-offload": vmnetOffload = true
        default: return false
        }
        return true
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        switch option {
        case "vmnet-network-identifier": assign(value, to: &vmnetNetworkIdentifier)
        case "vmnet-nat66-prefix": assign(value, to: &vmnetNat66Prefix)
        case "vmnet-external-interface": assign(value, to: &vmnetExternalInterface)
        default: false
        }
    }
}

extension OptionsFileOption: DirectOptions {
    mutating func setDefaults() {
        config = []
    }

    mutating func set(_ option: Substring, _ value: String) -> Bool {
        // `OptionsFile` has replaced it.
        false
    }
}
