// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Command lines as people make them who have not read the manual: each with its exit status (sysexits(3)) and what
    /// its message must contain.
    @Suite struct WrongCommandLines {
        /// The words, the status, and parts of the message between bars. DIR is a folder with a plain file `afile` and
        /// an empty folder `empty`; GONE is not there.
        static let table = """
            % 69 no VDE switch in any of the usual places | vde_vmnet --switch /tmp/vde
            stats % 64 there is no subcommand 'stats' | join, switch, run, client, check, interfaces | vde_vmnet --help
            start % 64 there is no subcommand 'start' | vde_vmnet --switch /tmp/vde
            halt % 64 there is no subcommand 'halt'
            version 2 % 64 Unexpected argument '2' | vde_vmnet version --help
            show % 64 there is no subcommand 'show'
            help nosuch % 64 there is no help on 'nosuch' | the subcommands of vde_vmnet are join, switch
            help port nosuch % 64 there is no help on 'nosuch' | the subcommands of vde_vmnet port are list
            help list nosuch % 64 there is no help on 'nosuch' | vde_vmnet list --help
            port help nosuch % 64 there is no help on 'nosuch'
            port nosuch --help % 64 there is no subcommand 'nosuch' of vde_vmnet port
            statsu --help % 64 there is no subcommand 'statsu'
            status gone % 69 no network is called 'gone' | vde_vmnet list
            stop % 64 give the NAME of the network to end | vde_vmnet list shows those that run
            stop a --network b % 64 'a' and --network 'b' are two networks; leave one of them out
            status a --network b % 64 'a' and --network 'b' are two networks
            status --network gone % 69 no network is called 'gone' | vde_vmnet list
            stop --network gone % 69 no network is called 'gone' | vde_vmnet list
            events --network gone % 69 no network is called 'gone' | vde_vmnet list
            events --only join,, % 64 --only needs kinds of events
            port vlan 2 4094 % 64 4094 is no VLAN; write a number from 0 to 4093
            capture --network gone -w - % 69 no network is called 'gone' | vde_vmnet list
            doctor --network gone % 69 no network is called 'gone' | vde_vmnet list
            allow list --json --network gone % 69 no network is called 'gone' | vde_vmnet list
            egress --json --network gone % 69 no network is called 'gone' | vde_vmnet list
            egress log % 64 'log' is not a policy; write --log on
            egress maybe % 64 'maybe' is neither allow nor deny; write one of them, or nothing to see the policy
            publish add 8080 --network gone % 69 no network is called 'gone'
            --name a/b --switch DIR/v % 64 --name: 'a/b'
            --control= --switch DIR/v % 64 --control needs a path
            --control-allow all --switch DIR/v % 64 --control-allow: 'all' is not a list
            --control-allow publish --uplink none --switch DIR/v % 64 does not go with --uplink none
            --control-group GONE --switch DIR/v % 64 there is no group
            --control off --name n --switch DIR/v % 64 --name does not go with --control off
            --limit 50 --switch DIR/v % 64 is invalid for '--limit | it is not a rate; write a whole number and kbit
            vde0 % 64 there is no subcommand 'vde0', and no directory of that name
            DIR/GONE % 69 no VDE switch at DIR/GONE | vde_vmnet --switch DIR/GONE
            ./GONE % 69 no VDE switch at ./GONE
            DIR/empty % 69 no VDE switch at DIR/empty
            DIR/afile % 64 is a file, not the directory | start one elsewhere by: vde_vmnet --switch
            a b % 64 Unexpected argument 'b' | vde_vmnet --help
            DIR/x[y] % 64 is not a port of a switch
            [] % 64 '[]' needs a path
            tap://vmnet0 % 64 'tap://' is not supported here | directory of a VDE switch
            http://example.org % 64 'http://' is not supported here
            --hlep % 64 Unknown option '--hlep' | vde_vmnet --help
            -x DIR/v % 64 Unknown option '-x'
            -s DIR/v % 64 Unknown option '-s' | -s is an option of vde_switch | vde_vmnet switch
            --sock DIR/v % 64 --sock is an option of vde_switch
            -d DIR/v % 64 -d is an option of vde_switch
            --daemon DIR/v % 64 --daemon is an option of vde_switch
            --mode shared DIR/v % 64 Unknown option '--mode'
            --domain= DIR/v % 64 there is no domain; write one
            --domain a/b DIR/v % 64 it is not a domain; write labels of letters, digits and hyphens
            --domain bücher.example DIR/v % 64 it is not in ASCII; write the form with xn--
            --domain lab.local DIR/v % 64 names below local have a fixed meaning; write another
            --domain 10.1 DIR/v % 64 write a domain whose last label has a letter
            --host-dns 127.0.0.1 DIR/v % 64 there is no port after the address | as in 127.0.0.1:5300
            --host-dns ::1 DIR/v % 64 there is no port after the address | as in [::1]:5300
            --host-dns 192.0.2.1:53 DIR/v % 64 192.0.2.1 is not on the loopback interface | as in 127.0.0.1:5300
            --host-dns ::1:5300 DIR/v % 64 write the address in brackets: [::1]:5300
            --host-dns [::ffff:127.0.0.1]:5300 DIR/v % 64 in the form of IPv6; write 127.0.0.1:5300
            --host-dns on DIR/v % 64 it is not an address of this host and a port | or auto, or off
            --ipv6 fd00::/48 DIR/v % 64 guests need a prefix of 64 bits; write fd00::/64
            --ipv6 Auto DIR/v % 64 write it in small letters: auto
            --ipv6 fd00::1/64 DIR/v % 64 it is an address of fd00::/64; write that
            --ipv6 fe80::/64 DIR/v % 64 guests cannot have such addresses | such as fd12:3456:789a:1::/64
            --ipv6 on DIR/v % 64 it is no prefix | write auto, kernel, off
            --allow-server eth0 --switch DIR/v % 64 it is not a port of a switch nor a hardware address; write
            --trunk one --switch DIR/v % 64 it is not a number; write digits only
            --idle-exit 1.5 --switch DIR/v % 64 it is no whole number, or too large; write digits only
            --vhost-user-fd x % 64 it is not a number; write digits only
            --vmnet-nat66-prefix 2001:db8:: DIR/v % 64 it is not a unique local prefix | such as fd00:1:2:3::
            check --tcp6 [::ffff:198.18.0.1]:443 DIR/v % 64 in the form of IPv6; write 198.18.0.1:443 after --tcp
            check --seconds 1 --to [::ffff:198.18.0.1]:443 DIR/v % 64 the form of IPv6; write 198.18.0.1:443
            check --tcp6 ::1:80 DIR/v % 64 it is not an IPv6 address and a port | as in [2001:db8::1]:80
            --uplink wifi DIR/v % 64 'wifi' is invalid for '--uplink | 'auto', 'vmnet', 'tap', 'user' or 'none'
            --uplink % 64 Missing value for '--uplink
            --uplink none DIR/v % 64 --uplink none needs --switch
            --uplink vmnet --switch DIR/v % 64 --uplink vmnet needs vmnet.framework | macOS
            --uplink none run % 64 a subcommand comes before its options: vde_vmnet run
            --vmnet-mode nat DIR/v % 64 'nat' is invalid for '--vmnet-mode | 'shared', 'host' or 'bridged'
            --vmnet-mode bridge --vmnet-interface eth0 DIR/v % 64 'bridge' is invalid | 'bridged'
            --vmnet-mode bridged DIR/v % 64 --vmnet-mode bridged needs --vmnet-interface
            --vmnet-mode bridged --vmnet-interface= DIR/v % 64 --vmnet-interface
            --switch --vmnet-mode bridged --vmnet-interface GONE0 DIR/v % 69 there is no interface GONE0 | one of:
            --switch --vmnet-mode bridged --vmnet-interface lo DIR/v % 64 --vmnet-interface lo | loopback | vde_vmnet \
            interfaces
            --vmnet-interface eth0 DIR/v % 64 --vmnet-interface needs --vmnet-mode bridged
            --uplink user --vmnet-mode bridged --vmnet-interface lo DIR/v % 64 --vmnet-mode bridged does not go with \
            --uplink user
            --uplink user --tap-name tap0 DIR/v % 64 --tap-name does not go with --uplink user
            --bridge-helper /bin/true DIR/v % 64 --bridge-helper needs --vmnet-mode bridged
            --vmnet-gateway DIR/v % 64 is invalid for '--vmnet-gateway | such as 192.168.105.1
            --vmnet-gateway 192.168.1.1/24 DIR/v % 64 '192.168.1.1/24' is invalid | --vmnet-mask
            --vmnet-gateway 8.8.8.8 DIR/v % 64 is not private | RFC 1918
            --vmnet-gateway 192.168.1.0 DIR/v % 64 192.168.1.0 is the first address
            --vmnet-gateway fd00::1 DIR/v % 64 'fd00::1' is invalid | it is not an IPv4 address; write four numbers
            --vmnet-mask 24 DIR/v % 64 --vmnet-mask needs --vmnet-gateway
            --vmnet-gateway 10.0.0.1 --vmnet-mask 255.0.255.0 DIR/v % 64 is not a mask of 8 to 30 leading ones, such \
            as 255.255.255.0 or 24
            --vmnet-gateway 10.0.0.1 --vmnet-mask /33 DIR/v % 64 '/33' is invalid | not a network's mask | /24 or 24
            --vmnet-gateway 10.0.0.1 --vmnet-mask 32 DIR/v % 64 is not a mask of 8 to 30
            --vmnet-dhcp-end 10.0.0.9 DIR/v % 64 --vmnet-dhcp-end needs --vmnet-gateway
            --vmnet-gateway 10.0.0.9 --vmnet-dhcp-end 10.0.0.5 DIR/v % 64 must lie above the gateway
            --vmnet-mtu 100 DIR/v % 64 --vmnet-mtu: 100 is not between 576 and 65521
            --vmnet-mtu big DIR/v % 64 'big' is invalid for '--vmnet-mtu | it is not a number
            --vmnet-interface-id 1 DIR/v % 64 '1' is invalid for '--vmnet-interface-id <uuid>' | it is not a UUID; write
            --vmnet-nat66-prefix fd00:1:: DIR/v % 64 --vmnet-nat66-prefix needs vmnet.framework
            --dhcp on DIR/v % 64 'on' is invalid for '--dhcp | 'auto', 'builtin', 'system' or 'off'
            --dhcp builtin --vmnet-disable-dhcp DIR/v % 64 --vmnet-disable-dhcp does not go with --dhcp
            --dhcp-host 192.168.105.7 DIR/v % 64 '192.168.105.7' has 1 parts; write MAC,IP[,IP6][,NAME], such
            --dhcp-host 52:54:00:00:00:01,192.168.105.7,wpad DIR/v % 64 the name 'wpad' is reserved
            --dhcp-host 52:54:00:00:00:01,192.168.105.7,a_b DIR/v % 64 'a_b' is not the name of a guest: one label of
            --dhcp-host 52:54:00:00:00:01,192.168.105.7,::ffff:1.2.3.4 DIR/v % 64 in the form of IPv6; write an IPv6
            --lease-time 30s DIR/v % 64 --lease-time: '30s' is not a time from 60s to 365d, such as 90s
            --dhcp-option ntp-server=0.0.0.0 DIR/v % 64 0.0.0.0 of ntp-server is no server's address
            --dhcp-option classless-static-route=10.0.0.1/8,10.0.0.2 DIR/v % 64 so write 10.0.0.0/8, or 10.0.0.1/32
            --dhcp-host 52:54:00:00:00:01,192.168.105.7 --dhcp off DIR/v % 64 --dhcp-host does not go with --dhcp off
            --publish 8080 DIR/v % 64 '8080' is not [BIND:]PORT[-END]:GUEST[:PORT][/udp]
            --publish 8080:80 DIR/v % 64 has '80' where a guest belongs
            --publish 8080:web_1:80 DIR/v % 64 has 'web_1' where a guest belongs
            --publish [::]:80:192.168.105.2 DIR/v % 64 has addresses of IPv4 and IPv6
            --publish 80:[::2] --ipv6 off DIR/v % 64 --publish with IPv6 does not go with --ipv6 off
            --publish 80:[::ffff:192.168.105.2] DIR/v % 64 in the form of IPv6; write 192.168.105.2
            --publish http:192.168.105.2 DIR/v % 64 has 'http' where a port from 1 to 65535
            --publish 0:192.168.105.2 DIR/v % 64 has '0' where a port
            --publish 80:192.168.105.2/sctp DIR/v % 64 /tcp or /udp only
            --publish 80:192.168.105.2 --publish 80:192.168.105.3 DIR/v % 64 take the same port of this host
            --publish 80:192.168.105.2 --vmnet-mode host DIR/v % 64 --publish does not go with --vmnet-mode host
            --egress none DIR/v % 64 'none' is invalid for '--egress | write allow or deny
            --egress log DIR/v % 64 'log' is invalid for '--egress | use --egress-log to log what is refused
            --egress deny --vmnet-mode bridged --vmnet-interface e0 DIR/v % 64 vde_vmnet routes only guests of a \
            shared network to the outside; use --vmnet-mode shared
            --egress deny --vmnet-mode host DIR/v % 64 --egress does not go with --vmnet-mode host | use --vmnet-mode \
            shared
            --dns 192.0.2.1 --vmnet-mode host DIR/v % 64 only guests of a shared network | use --vmnet-mode shared
            --ipv6 kernel --vmnet-mode host DIR/v % 64 routes only guests of a shared network | use --vmnet-mode shared
            --no-router --vmnet-mode host DIR/v % 64 a router of vde_vmnet; use --vmnet-mode shared
            --trunk 3 --vmnet-mode bridged --vmnet-interface e0 --switch % 64 ; use --vmnet-mode shared or host
            --no-router --uplink none --switch DIR/v % 64 with the uplinks tap and user vde_vmnet decides | use \
            --uplink tap or --uplink user
            --ipv6 off --uplink none --switch DIR/v % 64 with the uplinks tap and user vde_vmnet gives guests IPv6
            --dns vm.internal=192.0.2.1 DIR/v % 64 vm.internal=192.0.2.1:53 has no effect | choose another --domain
            --dns a.vm.internal=192.0.2.1 DIR/v % 64 names at and below vm.internal
            --dns 2001:db8::1:53 DIR/v % 64 could be an address, or an address and a port | write [2001:db8::1]:53 for
            --domain x.org --dns a.x.org=192.0.2.1 DIR/v % 64 names at and below x.org
            --boot ipxe=http:// DIR/v % 64 --boot: 'http://' has no host; write one
            --dhcp-option domain-search=-a.de DIR/v % 64 no label of -a.de may begin or end with a hyphen
            --allow 203.0.113.1 DIR/v % 64 --allow needs --egress deny
            --egress deny --allow example DIR/v % 64 'example' has one label; write the whole name
            --egress deny --allow *.com DIR/v % 64 '*.com' is everything below a top-level domain; write two labels
            --egress deny --allow * DIR/v % 64 '*' is every name; use --egress allow
            --egress deny --allow localhost:80 DIR/v % 64 'localhost' is the host itself; use --host-loopback
            --egress deny --allow [::1]:443 DIR/v % 64 '[::1]:443' is never reached from guests | use --host-loopback
            --egress deny --allow [::ffff:1.2.3.4]:443 DIR/v % 64 in the form of IPv6; write 1.2.3.4:443
            --egress deny --allow https://a.example DIR/v % 64 'https://a.example' is a URL; write the name and the port
            --egress deny --allow a.example:0 DIR/v % 64 '0' is not a port from 1 to 65535; write one
            --egress deny --allow 2001:db8::1:443 DIR/v % 64 [2001:db8::1]:443 for the port, or [2001:db8::1:443]
            --egress deny --allow 1.2.3.4/24 DIR/v % 64 write 1.2.3.0/24, or 1.2.3.4 for the address alone
            --egress deny --allow 1.2.3.4:443/tcp DIR/v % 64 TCP and UDP alike; write 1.2.3.4:443
            --egress deny --allow x.vm.internal:80 DIR/v % 64 --allow: 'x.vm.internal' is in vm.internal, the domain
            --switch --uplink none --egress deny DIR/v % 64 only the uplinks tap and user | use --uplink tap or
            --check-names DIR/v % 64 --check-names needs --allow
            --egress deny --allow 203.0.113.1 --check-names DIR/v % 64 --check-names needs --allow with a name
            --egress deny --allow a.example --check-names --uplink tap DIR/v % 64 --check-names does not go with
            --proxy ftp://203.0.113.1:80 DIR/v % 64 give socks5://HOST:PORT or http://HOST:PORT
            --proxy http://user:secret@203.0.113.1:80 DIR/v % 64 use --proxy-credentials FILE
            --proxy socks5://203.0.113.1 DIR/v % 64 is not socks5://HOST:PORT: there is no port; write it after
            --proxy socks5h://203.0.113.1:1080 DIR/v % 64 --proxy: socks5h has the proxy resolve names
            --proxy https://203.0.113.1:1080 DIR/v % 64 --proxy: TLS to the proxy is not supported
            --proxy socks5://203.0.113.1:1080 --uplink tap DIR/v % 64 --proxy does not go with --uplink tap
            --proxy-credentials f DIR/v % 64 --proxy-credentials needs --proxy
            --host-loopback --uplink tap DIR/v % 64 --host-loopback does not go with --uplink tap
            --udp-filtering endpoint --uplink tap DIR/v % 64 --udp-filtering does not go with --uplink tap
            --udp-filtering endpoint --proxy http://203.0.113.1:80 DIR/v % 64 --udp-filtering does not go with --proxy
            --udp-filtering none DIR/v % 64 'none' is invalid for '--udp-filtering
            --outbound eth1 --uplink tap DIR/v % 64 --outbound does not go with --uplink tap
            --outbound eth1 --vmnet-mode host DIR/v % 64 --outbound does not go with --vmnet-mode host
            --outbound a/b DIR/v % 64 'a/b' is neither a network interface nor an address; give one such as eth1
            --outbound 127.0.0.1 DIR/v % 64 nothing leaves this host from 127.0.0.1; give another address
            --outbound fe80::1 DIR/v % 64 nothing leaves this host from fe80::1 | or an interface
            --outbound ::ffff:192.0.2.1 DIR/v % 64 in the form of IPv6; write 192.0.2.1
            --outbound eth1 --outbound eth2 DIR/v % 64 eth1 does not go with eth2; give one interface
            --outbound 192.0.2.1 --outbound 192.0.2.2 DIR/v % 64 192.0.2.2 does not go with 192.0.2.1 | each IP version
            --switch --outbound lo DIR/v % 64 nothing leaves this host by the loopback interface; it has:
            --switch --outbound absent DIR/v % 69 there is no interface absent; give one that this host has: (none)
            --switch --outbound 192.0.2.9 DIR/v % 69 192.0.2.9 is no address of this host; give one that it has: (none
            --tap-name a/b DIR/v % 64 'a/b' cannot be an interface's name
            --tap-name a-name-that-is-too-long DIR/v % 64 1 to 15 characters
            --vde-group GONE DIR/v % 64 --vde-group: there is no group 'GONE'
            --vde-mode 0660 DIR/v % 64 --vde-mode needs --switch
            --switch --vde-mode rw DIR/v % 64 'rw' is invalid for '--vde-mode | it is not an octal mode; write
            --mgmt DIR/m DIR/v % 64 --mgmt does not go with a switch to join
            --switch --mgmtmode 0660 DIR/v % 64 --mgmtmode needs --mgmt
            --idle-exit 5 DIR/v % 64 --idle-exit does not go with a switch to join
            --switch --idle-exit 0 DIR/v % 64 --idle-exit: 0 is not between 1 and 1000000
            --switch --stats-interval 0 DIR/v % 64 --stats-interval: 0 is not between 1 and
            --workers 99 DIR/v % 64 --workers: 99 is not between 1 and 16
            --log-level verbose DIR/v % 64 'verbose' is invalid | trace, debug, info
            --pidfile % 64 Missing value for '--pidfile
            --state-dir= DIR/v % 64 --state-dir needs a path
            --switch DIR/v[3] % 64 --switch takes the directory | without a port
            --switch --uplink none DIR/afile % 73 DIR/afile is a file | --switch makes a directory
            --switch --uplink none DIR/GONE/v % 73 open DIR/GONE: No such file | the directory above it must exist
            --switch --uplink none --pidfile DIR/GONE/p DIR/v % 73 cannot write the pidfile | another --pidfile
            --switch --uplink user --boot /dev/null DIR/v % 66 --boot: /dev/null is no regular file but | give a file
            --switch --uplink user --boot /gone DIR/v % 66 --boot: open /gone: No such file | of a file that exists
            --switch --uplink user --boot /etc DIR/v % 66 --boot: /etc is a directory; give a file in it
            --switch --uplink user --proxy http://203.0.113.1:80 --proxy-credentials /etc DIR/v % 66 Is a directory
            --switch --uplink none --rcfile DIR/GONE DIR/v % 66 --rcfile: open DIR/GONE: No such file
            --switch --uplink none --mgmt DIR/GONE/m DIR/v % 73 --mgmt: open DIR/GONE: No such file | the directory \
            above it must exist
            --uplink none --stream DIR/GONE/s % 73 open DIR/GONE: No such file | the directory above it must exist
            --uplink none --stream DIR/afile % 73 DIR/afile is there already, and no socket
            --uplink none --dgram DIR/afile % 73 DIR/afile is there already, and no socket
            --uplink none --seqpacket DIR/afile % 73 DIR/afile is there already, and no socket
            --uplink none --seqpacket DIR/GONE/s % 73 open DIR/GONE: No such file | the directory above it must exist
            --uplink none --stream DIR/s --seqpacket DIR/s % 64 --seqpacket | is given twice
            --seqpacket= % 64 --seqpacket needs a path
            --uplink none --stream DIR/s --dgram DIR/s % 64 is given twice
            --stream DIR/s,fast % 64 --stream: 'fast' is unknown | offload | written ,,
            --dgram DIR/s,offload,on % 64 --dgram: 'on' is unknown | offload
            --seqpacket ,offload % 64 --seqpacket needs a path
            --stream DIR/s --dgram DIR/s,offload % 64 is given twice
            --stream= % 64 --stream needs a path
            --vhost-user ,client % 64 --vhost-user needs a path
            --vhost-user DIR/u,server % 64 --vhost-user: 'server' is unknown | client | written ,,
            --vhost-user DIR/u --vhost-user DIR/u,client % 64 is given twice
            --vhost-user-fd 99 % 64 --vhost-user-fd 99: descriptor 99 is not open | must pass it on
            --socket-group root --vhost-user DIR/u,client % 64 --socket-group needs --stream | PATH,client
            --netns , % 64 --netns needs a namespace before the comma
            --netns 1,a/b % 64 --netns 1,a/b: 'a/b' is no name of an interface
            --netns 1,configure --dhcp off % 64 --netns NAMESPACE,configure | only vde_vmnet's own DHCP server
            --netns 1,configure --uplink none % 64 --netns NAMESPACE,configure | it configures the uplink
            --netns x --netns x % 64 --netns: x is given twice
            --uplink none --netns DIR/afile % 64 --netns DIR/afile: DIR/afile is not a network namespace
            --uplink none --netns /proc/self/ns/net % 64 that is the network namespace of vde_vmnet itself
            --uplink none --netns gone % 69 --netns gone: open /run/netns/gone: No such file | a name of `ip netns`
            --fd 99 % 64 descriptor 99 is not open | must pass it on
            --fd three % 64 'three' is invalid for '--fd | it is not a number
            --socket-group root DIR/v % 64 --socket-group needs --stream, --dgram, --seqpacket or --vhost-user
            --switch --state-dir DIR/afile DIR/v % 73 DIR/afile | choose another with --state-dir
            --switch --publish 80:192.168.1.2 DIR/v % 64 --publish 80:192.168.1.2 | choose the network with \
            --vmnet-gateway
            run % 64 give the program to start after -- | vde_vmnet run --help
            run qemu-system-x86_64 % 64 give the program to start after --
            run --uplink none -- GONE % 127 start GONE: No such file | there is no such program
            run --idle-exit 5 -- true % 64 --idle-exit does not go with run
            --switch= % 64 the path of the VDE network is empty | leave it out
            --switch --rcfile= DIR/v % 64 --rcfile needs a path
            --switch --pcap - DIR/v % 64 --pcap writes a file | vde_vmnet capture -w -
            client % 64 Missing expected argument '<socket>' | vde_vmnet client --help
            client DIR/s % 64 give the program to start, such as
            client DIR/s true % 69 connect DIR/s: No such file | is vde_vmnet --stream DIR/s running
            check --tcp 203.0.113.1 DIR/v % 64 '203.0.113.1' is invalid | such as 203.0.113.1:443 | vde_vmnet check \
            --help
            check --tcp example.org:80 DIR/v % 64 'example.org:80' is invalid | it is not an IPv4 address and a port
            check --name a..b DIR/v % 64 'a..b' is not a domain name
            port limit x 50mbit % 64 'x' is invalid | it is not a number | vde_vmnet port limit --help
            lease reserve % 64 Missing | vde_vmnet lease reserve --help
            port frobnicate % 64 'frobnicate' | vde_vmnet port --help
            status DIR/none % 69 No such file | vde_vmnet list shows
            check --bogus % 64 Unknown option '--bogus' | vde_vmnet check --help
            check a b % 64 Unexpected argument 'b'
            interfaces eth0 % 64 Unexpected argument 'eth0' | vde_vmnet interfaces --help
            switch -s % 64 Missing value for '-s | vde_vmnet switch --help
            switch -F % 64 -F: there is no spanning tree | leave it out
            switch -n 5000 -s DIR/v % 64 --numports: 5000 is not between 1 and 1023
            switch -m 9 -s DIR/v % 64 '9' is invalid for '-m | it is not an octal mode
            switch -g GONE -s DIR/v % 64 --group: there is no group 'GONE'
            switch DIR/v % 64 Unexpected argument
            switch -s DIR/GONE/v -nostdin % 73 the directory above it must exist
            switch -s DIR/v -nostdin -M DIR/afile % 73 --mgmt: DIR/afile is there already
            switch -s DIR/v -nostdin -f DIR/GONE % 66 --rcfile: open DIR/GONE
            """

        @Test func everyErrorHasStatusAndMessage() throws {
            let host = try Namespace("host"), folder = try TemporaryFolder()
            try Files.replace(folder.file("afile"), [1])
            try Files.makeDirectories(folder.file("empty"))
            let lines = WrongCommandLines.table.split(separator: "\n")
            #expect(lines.count >= 100)
            for line in lines {
                let halves = line.replacing("DIR", with: folder.path).replacing("GONE", with: "absent").split(
                    separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
                let words = halves[0].split(separator: " ").map(String.init)
                let expected = halves[1].drop { $0 == " " }.split(separator: " ", maxSplits: 1)
                let parts = expected[1].split(separator: "|").map { part in
                    String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
                }
                // In the folder, so that no word is a path by chance. It is HOME too, so that no default switch is
                // found.
                let command = "cd \(folder.path) && exec timeout 20 env HOME=\(folder.path) \"$@\" </dev/null"
                let result = try host.attempt(
                    Namespace.withoutState + ["sh", "-c", command, "sh", TestHost.product("vde_vmnet")] + words)
                let message = result.error
                #expect(result.termination == .exited(Int32(expected[0])!), "\(line): \(result.termination) \(message)")
                for part in parts { #expect(message.contains(part), "\(line): '\(part)' is not in: \(message)") }
                #expect(
                    message.split(separator: "\n").allSatisfy { $0.hasPrefix("vde_vmnet: ") }, "\(line): \(message)")
                #expect(!message.contains("Usage:") && message.contains("vde_vmnet: error: "), "\(message)")
            }
        }

        /// A command for the only network that runs, if there is none. Root finds networks of users in /tmp, too.
        @Test(arguments: ["status", "events", "port list"])
        func absentNetworkIsReportedWithCommandThatStartsOne(_ words: String) throws {
            let script = """
                exec 3<"$0"
                mount -t tmpfs none /run && mount -t tmpfs none /tmp && exec /proc/self/fd/3 "$@"
                """
            let result = try Namespace("host").attempt(
                ["unshare", "-m", "sh", "-c", script, TestHost.product("vde_vmnet")]
                    + words.split(separator: " ").map(String.init))
            #expect(result.termination == .exited(69))
            #expect(
                result.error
                    == "vde_vmnet: error: no network of root runs here; start one: vde_vmnet --switch /tmp/vde\n")
        }

        @Test func hostWithoutInterfacesIsReported() throws {
            let result = try Namespace("host").attempt([TestHost.product("vde_vmnet"), "interfaces"])
            #expect(result.succeeded && result.output.isEmpty)
            #expect(result.error == "vde_vmnet: this host has no bridge and no wired NIC that can be bridged\n")
        }

        /// A network of `check` that is not there is a finding, with what to do.
        @Test func checkReportsHowToStartNetwork() throws {
            let host = try Namespace("host"), folder = try TemporaryFolder()
            let result = try host.attempt([TestHost.product("vde_vmnet"), "check", folder.file("absent")])
            #expect(
                result.termination == .exited(1)
                    && result.output.contains(
                        "try: to start a network with a new switch: vde_vmnet --switch \(folder.file("absent"))"),
                "\(result.output)")
        }

        /// The message names the host's fault to a user who looks for it in the guest.
        @Test(arguments: ["tap", "user"]) func offlineHostIsReported(uplink: String) throws {
            let network = try TestNetwork()
            func start(_ name: String) throws -> VMNetDaemon {
                try VMNetDaemon(
                    in: network.host, ["--switch", "--uplink", uplink, network.folder.file(name)],
                    folder: network.folder)
            }
            let online = try start("online")
            #expect(!online.program.output.contains("offline"))
            online.program.signal(Signal.user1)
            try online.program.wait(for: "port 1 (\(uplink == "tap" ? "vmnet0" : "user")): in ", within: 10)
            #expect(try online.stop() == .exited(0))
            try network.host.ip("route", "del", "default")
            let offline = try start("offline")
            #expect(offline.program.output.contains("this host is offline (it has no default route)"))
            #expect(try offline.stop() == .exited(0))
            try network.host.ip("-6", "addr", "add", "2001:db8::2/64", "dev", "wan", "nodad")
            // A VPN routes the two halves of the Internet in place of the default route.
            for (name, routes) in [("six", ["default"]), ("halves", ["::/1", "8000::/1"])] {
                for route in routes {
                    try network.host.ip("-6", "route", "add", route, "via", "2001:db8::1", "dev", "wan")
                }
                let six = try start(name)
                #expect(six.program.output.contains("guests reach the outside over IPv6 only"))
                #expect(!six.program.output.contains("offline"))
                #expect(
                    try network.host.attempt([TestHost.product("vde_vmnet"), "doctor"]).output.contains(
                        "packets leave over IPv6 by wan; there is no default route for IPv4"))
                #expect(try six.stop() == .exited(0))
                for route in routes { try network.host.ip("-6", "route", "del", route, "dev", "wan") }
            }
        }
    }
}
