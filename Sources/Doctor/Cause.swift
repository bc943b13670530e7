// SPDX-License-Identifier: Apache-2.0

/// Everything that the doctor can find. The raw values are part of `doctor --json`, and docs/doctor.md lists them.
package enum Cause: String, CaseIterable, Sendable {
    // Program and privileges.
    case notRoot = "not_root"
    case noNetAdmin = "no_net_admin"
    // TAP.
    case tunMissing = "tun_missing"
    case tunDenied = "tun_denied"
    case tunUnusable = "tun_unusable"
    // nftables, and the rules of other programs.
    case nftablesMissing = "nftables_missing"
    case nftablesUnusable = "nftables_unusable"
    case firewallDocker = "firewall_docker"
    case firewallUFW = "firewall_ufw"
    case firewallFirewalld = "firewall_firewalld"
    case firewallIPTables = "firewall_iptables"
    case firewallNFTables = "firewall_nftables"
    case firewallUnreadable = "firewall_unreadable"
    case firewallUnclear = "firewall_unclear"
    // Forwarding and routes.
    case forwardingOff = "forwarding_off"
    case forwardingLocked = "forwarding_locked"
    case noDefaultRoute = "no_default_route"
    case defaultRouteDown = "default_route_down"
    case ruleBlocks = "rule_blocks"
    case ruleDiverts = "rule_diverts"
    case vpn
    // Resolvers.
    case resolvConfMissing = "resolv_conf_missing"
    case noResolver = "no_resolver"
    case localResolverDead = "local_resolver_dead"
    case resolverSilent = "resolver_silent"
    case resolverUnreachable = "resolver_unreachable"
    case resolversDiffer = "resolvers_differ"
    // Ports, subnets, MTU.
    case port53Taken = "port_53_taken"
    case port67Taken = "port_67_taken"
    case subnetClash = "subnet_clash"
    case noFreeSubnet = "no_free_subnet"
    case mtuSmall = "mtu_small"
    case mtuExceedsPath = "mtu_exceeds_path"
    case pingGroupRange = "ping_group_range"
    // Sockets.
    case noRuntimeDirectory = "no_runtime_directory"
    case runtimeDirectoryDenied = "runtime_directory_denied"
    case staleControlSocket = "stale_control_socket"
    case switchMissing = "switch_missing"
    case switchNotDirectory = "switch_not_directory"
    case switchDenied = "switch_denied"
    case switchStale = "switch_stale"
    case switchPathTooLong = "switch_path_too_long"
    case buffersSmall = "buffers_small"
    case datagramQueueShort = "datagram_queue_short"
    // The running network.
    case uplinkLost = "uplink_lost"
    case leasesLow = "leases_low"
    case leasesExhausted = "leases_exhausted"
    case addressConflict = "address_conflict"
    case duplicateMAC = "duplicate_mac"
    // Time.
    case clockBehind = "clock_behind"
    case leasesInFuture = "leases_in_future"
    // macOS.
    case notSigned = "not_signed"
    case entitlementMissing = "entitlement_missing"
    case internetSharing = "internet_sharing"
    case firewallBlocksBootpd = "firewall_blocks_bootpd"
    case firewallBlocksAll = "firewall_blocks_all"
    case localNetworkPrivacy = "local_network_privacy"
    case pfBlocks = "pf_blocks"
    case subnetOwned = "subnet_owned"
}
