// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import NetworkModel
import Testing
import Wire

private let own = "vde_vmnet_vmnet0"
private let watcher = HostFirewallInspector(
    tap: "vmnet0", network: GuestNetwork(gateway: IPv4Address("192.168.105.1")!, prefixLength: 24), egress: "wan")

/// What is found in a listing of nft, as `owner: first word of the loss`.
private func findings(_ listing: String) -> [String] {
    watcher.findings(in: Ruleset(nft: listing)).map { "\($0.owner.rawValue): \($0.effect)" }
}

private let forward = "what guests send to the outside"

@Suite struct HostFirewallInspectorTests {
    @Test func emptyRulesetHasNoFindings() {
        #expect(findings("").isEmpty)
        #expect(
            findings(
                "table inet filter {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy "
                    + "accept;\n\t}\n}\n"
            ).isEmpty)
    }

    @Test func dropOfIPv6IsDetectedBesideThatOfIPv4() {
        let inspector = HostFirewallInspector(
            tap: "vmnet0", network: GuestNetwork(gateway: IPv4Address("192.168.105.1")!, prefixLength: 24),
            egress: "wan", network6: IPv6Network(containing: IPv6Address("fd12::")!, prefixLength: 64), egress6: "wan6")
        func found(_ listing: String) -> [String] {
            inspector.findings(in: Ruleset(nft: listing)).map { "\($0.owner.rawValue): \($0.effect)" }
        }
        func chain(
            _ family: String, _ table: String, _ name: String, policy: String = "accept", _ rules: String...
        )
            -> String
        {
            "table \(family) \(table) {\n\tchain \(name) {\n\t\ttype filter hook forward priority filter; policy "
                + "\(policy);\n\(rules.map { "\t\t\($0)\n" }.joined())\t}\n}\n"
        }
        let six = chain("ip6", "filter", "FORWARD", policy: "drop")
        #expect(found(six) == ["iptables: \(forward) over IPv6"])
        #expect(
            inspector.findings(in: Ruleset(nft: six))[0].commands == [
                "ip6tables -I FORWARD -i vmnet0 -j ACCEPT",
                "ip6tables -I FORWARD -o vmnet0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            ])
        #expect(
            inspector.findings(in: Ruleset(iptables: "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", isIPv6: true)).map(
                \.effect) == ["\(forward) over IPv6"])
        // One remedy is enough for a chain of both versions.
        #expect(found(chain("inet", "site", "fwd", policy: "drop")) == ["nftables: \(forward)"])
        #expect(
            found(six + chain("ip", "filter", "FORWARD", policy: "drop")) == [
                "iptables: \(forward) over IPv6", "iptables: \(forward)",
            ])
        for (rule, isDropping) in [
            ("meta nfproto ipv6 drop", true), ("ip6 saddr fd12::/32 drop", true), ("ip6 saddr fd13::/32 drop", false),
            ("ip6 daddr 2000::/3 oifname \"wan6\" drop", true), ("oifname \"eth9\" drop", false),
            ("ip6 saddr != { fd12::/64, fe80::/10 } iifname \"vmnet0\" drop", false),
            ("ip6 nexthdr icmpv6 drop", false), ("icmpv6 type echo-request drop", false),
            ("ip6 hoplimit 1 drop", false),
        ] {
            #expect(
                found(chain("inet", "site", "fwd", rule)) == (isDropping ? ["nftables: \(forward) over IPv6"] : []),
                "\(rule)")
            #expect(findings(chain("inet", "site", "fwd", rule)).isEmpty, "without guests of IPv6: \(rule)")
        }
        #expect(found(chain("inet", "site", "fwd", "meta nfproto ipv4 drop")) == ["nftables: \(forward)"])
        #expect(
            found(
                chain(
                    "ip6", "site", "fwd", policy: "drop", "iifname \"vmnet0\" accept",
                    "oifname \"vmnet0\" ct state established accept")
            ).isEmpty)
    }

    @Test func ownTableIsNotForeign() {
        #expect(
            findings(
                "table inet \(own) {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n"
                    + "\t}\n}\n"
            ).isEmpty)
    }

    @Test func dropPolicyIsDetected() {
        let listing = """
            table inet filter {
            	chain input {
            		type filter hook input priority filter; policy drop;
            		ct state vmap { established : accept, related : accept, invalid : drop }
            		iifname "lo" accept
            		tcp dport { 22, 80 } accept
            	}

            	chain forward {
            		type filter hook forward priority filter; policy drop;
            	}
            }
            """
        #expect(findings(listing) == ["nftables: guests' pings of the gateway", "nftables: \(forward)"])
        let commands = watcher.findings(in: Ruleset(nft: listing)).flatMap(\.commands)
        #expect(commands.contains("nft insert rule inet filter forward iifname vmnet0 accept"))
    }

    @Test func remedyRemovesTheFinding() {
        let listing = """
            table inet filter {
            	chain input {
            		type filter hook input priority filter; policy drop;
            		iifname "vmnet0" meta l4proto { tcp, udp } th dport 53 accept
            		ip protocol icmp accept
            	}
            	chain forward {
            		type filter hook forward priority filter; policy drop;
            		oifname "vmnet0" ct state established,related accept
            		iifname "vmnet0" accept
            	}
            }
            """
        #expect(findings(listing).isEmpty)
        // Half of it is not enough.
        #expect(
            findings(listing.replacing("\t\toifname \"vmnet0\" ct state established,related accept\n", with: "")) == [
                "nftables: \(forward)"
            ])
        #expect(findings(listing.replacing("iifname \"vmnet0\" accept", with: "iifname \"vmnet*\" accept")).isEmpty)
        #expect(
            findings(listing.replacing("iifname \"vmnet0\" accept", with: "iifname { \"virbr0\", \"vmnet0\" } accept"))
                .isEmpty)
        #expect(findings(listing.replacing("iifname \"vmnet0\" accept", with: "iifname != \"eth9\" accept")).isEmpty)
        #expect(
            findings(listing.replacing("iifname \"vmnet0\" accept", with: "iifname \"vmnet1\" accept")) == [
                "nftables: \(forward)"
            ])
    }

    @Test func dockersChainsAreRecognised() {
        let listing = """
            # Warning: table ip filter is managed by iptables-nft, do not touch!
            table ip filter {
            	chain DOCKER-USER {
            	}
            	chain DOCKER-FORWARD {
            		oifname "docker0" ct state related,established counter packets 0 bytes 0 accept
            		iifname "docker0" counter packets 12 bytes 720 accept
            	}
            	chain FORWARD {
            		type filter hook forward priority filter; policy drop;
            		counter packets 5 bytes 420 jump DOCKER-USER
            		counter packets 5 bytes 420 jump DOCKER-FORWARD
            	}
            }
            """
        #expect(findings(listing) == ["Docker: \(forward)"])
        #expect(
            watcher.findings(in: Ruleset(nft: listing))[0].commands[0] == "iptables -I DOCKER-USER -i vmnet0 -j ACCEPT")
        let remedied = listing.replacing(
            "\tchain DOCKER-USER {\n",
            with:
                "\tchain DOCKER-USER {\n\t\toifname \"vmnet0\" ct state related,established counter packets 0 bytes "
                + "0 accept\n\t\tiifname \"vmnet0\" counter packets 0 bytes 0 accept\n"
        )
        #expect(findings(remedied).isEmpty)
    }

    @Test func ufwsChainsAreRecognised() {
        let listing = """
            table ip filter {
            	chain ufw-before-input {
            		iifname "lo" counter packets 0 bytes 0 accept
            		ct state related,established counter packets 0 bytes 0 accept
            		ct state invalid counter packets 0 bytes 0 drop
            		meta l4proto icmp icmp type echo-request counter packets 0 bytes 0 accept
            		udp sport 67 udp dport 68 counter packets 0 bytes 0 accept
            		counter packets 0 bytes 0 jump ufw-not-local
            		ip daddr 224.0.0.251 udp dport 5353 counter packets 0 bytes 0 accept
            		counter packets 0 bytes 0 jump ufw-user-input
            	}
            	chain ufw-not-local {
            		fib daddr type local counter packets 0 bytes 0 return
            		fib daddr type multicast counter packets 0 bytes 0 return
            		limit rate 3/minute burst 10 packets counter packets 0 bytes 0 jump ufw-logging-deny
            		counter packets 0 bytes 0 drop
            	}
            	chain ufw-logging-deny {
            		limit rate 3/minute burst 10 packets counter packets 0 bytes 0 log prefix "[UFW BLOCK] "
            	}
            	chain ufw-user-input {
            	}
            	chain ufw-user-forward {
            	}
            	chain INPUT {
            		type filter hook input priority filter; policy drop;
            		counter packets 0 bytes 0 jump ufw-before-input
            	}
            	chain FORWARD {
            		type filter hook forward priority filter; policy drop;
            		ct state related,established counter packets 0 bytes 0 accept
            		counter packets 0 bytes 0 jump ufw-user-forward
            	}
            }
            """
        #expect(findings(listing) == ["ufw: \(forward)"])
        let allowed = listing.replacing(
            "\tchain ufw-user-input {\n",
            with: "\tchain ufw-user-input {\n\t\tiifname \"vmnet0\" udp dport 53 counter packets 0 bytes 0 accept\n"
        )
        .replacing(
            "\tchain ufw-user-forward {\n",
            with: "\tchain ufw-user-forward {\n\t\tiifname \"vmnet0\" counter packets 0 bytes 0 accept\n")
        #expect(findings(allowed).isEmpty)
    }

    @Test func firewalldsRejectsAreFound() {
        let listing = """
            table inet firewalld {
            	chain filter_INPUT {
            		type filter hook input priority filter + 10; policy accept;
            		ct state { established, related } accept
            		ct status dnat accept
            		iifname "lo" accept
            		ct state invalid drop
            		jump filter_INPUT_ZONES
            		reject with icmpx admin-prohibited
            	}
            	chain filter_FORWARD {
            		type filter hook forward priority filter + 10; policy accept;
            		ct state { established, related } accept
            		ct status dnat accept
            		ip6 daddr { ::/96, 2002::/24 } reject with icmpv6 addr-unreachable
            		jump filter_FORWARD_ZONES
            		reject with icmpx admin-prohibited
            	}
            	chain filter_INPUT_ZONES {
            		goto filter_IN_public
            	}
            	chain filter_FORWARD_ZONES {
            		goto filter_FWD_public
            	}
            	chain filter_IN_public {
            		tcp dport 22 accept
            		ip6 daddr fe80::/64 udp dport 546 accept
            		meta l4proto { icmp, ipv6-icmp } accept
            		reject with icmpx admin-prohibited
            	}
            	chain filter_FWD_public {
            		reject with icmpx admin-prohibited
            	}
            	chain filter_IN_trusted {
            		accept
            	}
            }
            """
        #expect(findings(listing) == ["firewalld: \(forward)"])
        let trusted = listing.replacing(
            "\tchain filter_INPUT_ZONES {\n",
            with: "\tchain filter_INPUT_ZONES {\n\t\tiifname \"vmnet0\" goto filter_IN_trusted\n"
        )
        .replacing(
            "\tchain filter_FORWARD_ZONES {\n",
            with: "\tchain filter_FORWARD_ZONES {\n\t\tiifname \"vmnet0\" goto filter_IN_trusted\n")
        #expect(findings(trusted).isEmpty)
    }

    @Test func undecidableRulesRaiseNoAlarm() {
        let listing = """
            table ip filter {
            	chain FORWARD {
            		type filter hook forward priority filter; policy drop;
            		xt match "physdev" counter packets 0 bytes 0 accept
            	}
            }
            """
        #expect(findings(listing).isEmpty)
        // A drop that may not hold is no drop.
        let maybe =
            "table ip f {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n\t\tmeta "
            + "mark 7 drop\n\t}\n}\n"
        #expect(findings(maybe).isEmpty)
    }

    @Test func addressConditionsAreEvaluated() {
        func listing(_ rule: String) -> String {
            "table inet f {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n"
                + "\t\t\(rule)\n\t\tct state established accept\n\t}\n}\n"
        }
        #expect(findings(listing("ip saddr 192.168.0.0/16 accept")).isEmpty)
        #expect(findings(listing("ip saddr { 10.0.0.0/8, 192.168.105.0/24 } accept")).isEmpty)
        #expect(findings(listing("ip saddr 10.0.0.0/8 accept")) == ["nftables: \(forward)"])
        #expect(findings(listing("ip daddr != 10.0.0.0/8 accept")).isEmpty)
        #expect(findings(listing("ip saddr @mine accept")).isEmpty, "a named set may hold them")
    }

    @Test func legacyTablesAreRead() {
        let listing = """
            # Generated by iptables-save
            *filter
            :INPUT ACCEPT [0:0]
            :FORWARD DROP [0:0]
            :OUTPUT ACCEPT [0:0]
            :MINE - [0:0]
            -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
            -A FORWARD -j MINE
            -A MINE -i docker0 ! -o docker0 -j ACCEPT
            COMMIT
            """
        let found = watcher.findings(in: Ruleset(iptables: listing))
        #expect(found.map(\.owner) == [.iptables])
        #expect(
            found[0].commands == [
                "iptables -I FORWARD -i vmnet0 -j ACCEPT",
                "iptables -I FORWARD -o vmnet0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            ])
        #expect(
            watcher.findings(in: Ruleset(iptables: listing.replacing("-i docker0 ! -o docker0", with: "-i vmnet+")))
                .isEmpty)
    }

    @Test func chainsThatJumpInCirclesEnd() {
        let listing =
            "table ip f {\n\tchain a {\n\t\tjump b\n\t}\n\tchain b {\n\t\tjump a\n\t}\n\tchain forward {\n\t\ttype "
            + "filter hook forward priority 0; policy drop;\n\t\tjump a\n\t}\n}\n"
        #expect(findings(listing) == ["nftables: \(forward)"])
    }

    @Test func malformedRulesetsDoNotTrap() {
        _ = Ruleset(nft: "table\nchain {\n}}}\n\"\n{ { {\n\t\tct state vmap {")
        _ = Ruleset(iptables: "-A\n:\n-A X -j\n-A X --ctstate\n")
    }
}
