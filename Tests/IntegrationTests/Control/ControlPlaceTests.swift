// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Control sockets of other users, and of uplinks that cannot change while they run.
    @Suite struct ControlPlaces {
        @Test func rootListsNetworksOfUsers() throws {
            let network = try TestNetwork()
            let program = TestHost.product("vde_vmnet"), user = try network.host.run("id", "-u", "daemon").trimmed
            let place = "/run/user/\(user)"
            let script = """
                mount -t tmpfs -o mode=755 none /run
                mkdir -p \(place) && chown daemon \(place)
                XDG_RUNTIME_DIR=\(place) \(Namespace.running(as: "daemon").joined(separator: " ")) \(program) \
                    --switch --uplink user --name mine --state-dir \(place)/state \(place)/sw >&2 &
                network=$!
                count=0
                while [ ! -S \(place)/vde_vmnet/mine ] && [ $count -lt 200 ]; do sleep 0.05; count=$((count + 1)); done
                "$0" list --json
                "$0" status mine --json >/dev/null && echo "root sees it"
                XDG_RUNTIME_DIR=/nowhere \(Namespace.running(as: "nobody").joined(separator: " ")) "$0" list --json
                kill $network && wait $network
                """
            let result = try network.host.attempt(["unshare", "-m", "sh", "-c", script, program])
            #expect(result.succeeded, "\(result.error)")
            let lines = result.output.split(separator: "\n")
            #expect(
                lines.first?.contains(#"{"name":"mine","socket":"\#(place)/vde_vmnet/mine","process":"#) == true
                    && lines.first?.contains(#""owner":"daemon""#) == true, "\(result.output)\(result.error)")
            #expect(lines.dropFirst().first == "root sees it")
            // A third user sees nothing of it.
            #expect(lines.last == "[]", "\(result.output)")
        }

        /// Runs `script` on a host for it alone, with empty /run and /tmp. `start OPTIONS` starts a network of the user
        /// daemon, who has no XDG_RUNTIME_DIR, and `as USER WORDS` runs the program.
        private func run(_ script: String) throws -> ChildProcess.Output {
            // The program may be in /tmp.
            let prelude = """
                mount --bind "$(dirname "$0")" /mnt
                mount -t tmpfs -o mode=755 none /run
                mount -t tmpfs -o mode=1777 none /tmp
                program=/mnt/$(basename "$0") own=/tmp/vde_vmnet-$(id -u daemon)
                unset XDG_RUNTIME_DIR TMPDIR
                export HOME=/tmp/home
                mkdir /tmp/home && chown daemon /tmp/home
                as() {
                    user=$1; shift
                    setpriv --reuid "$user" --regid nogroup --clear-groups -- "$program" "$@"
                }
                await() {
                    count=0
                    until eval "$1" || [ $count -ge 400 ]; do sleep 0.05; count=$((count + 1)); done
                }
                start() {
                    rm -f /tmp/home/log
                    setpriv --reuid daemon --regid nogroup --clear-groups -- \
                        "$program" --switch "$@" /tmp/home/vde >/tmp/home/log 2>&1 &
                    network=$!
                    await 'grep -qs "ready: " /tmp/home/log || ! kill -0 $network 2>/dev/null'
                }

                """
            let network = try TestNetwork()
            return try network.host.attempt([
                "unshare", "-m", "sh", "-c", prelude + script, TestHost.product("vde_vmnet"),
            ])
        }

        /// As in a shell of su(1), a job of cron(8) or a container of a CI job.
        @Test func userWithoutRuntimeDirectoryHasSocket() throws {
            let result = try run(
                """
                start --uplink user --name mine
                stat -c '%U %a' $own $own/vde_vmnet
                as daemon list --json | grep -o '"name":"mine","socket":"[^"]*"'
                as daemon status mine >/dev/null && echo "its user sees it"
                as daemon doctor mine | grep -c runtime_directory
                # The same user, with a session.
                mkdir -m 0700 /run/session && chown daemon /run/session
                XDG_RUNTIME_DIR=/run/session as daemon status >/dev/null && echo "a session sees it"
                as root status mine >/dev/null && echo "root sees it"
                as games list --json
                as daemon stop mine && echo stopped
                ls $own/vde_vmnet
                """)
            let number = result.output.firstRange(of: "/tmp/vde_vmnet-").map {
                result.output[$0.upperBound...].prefix { $0.isNumber }
            }
            #expect(
                result.output == """
                    daemon 700
                    daemon 700
                    "name":"mine","socket":"/tmp/vde_vmnet-\(number ?? "")/vde_vmnet/mine"
                    its user sees it
                    0
                    a session sees it
                    root sees it
                    []
                    stopped
                    control.lock
                    lock

                    """, "\(result.error)")
        }

        /// Directories in /tmp that other users have made, or can write to. Their sockets get no request.
        @Test(arguments: [
            "mkdir -p $own/vde_vmnet; trap_clients; chown -R nobody $own",
            "mkdir -p /tmp/theirs/vde_vmnet; ln -s /tmp/theirs $own; trap_clients; chown -Rh nobody /tmp/theirs $own",
            "mkdir -p $own/vde_vmnet; trap_clients; chmod 0777 $own; chown -R daemon $own",
            "mkdir -m 0700 $own; mkdir $own/vde_vmnet; trap_clients; chown -R daemon $own; chmod 0777 $own/vde_vmnet",
            "mkdir -m 0700 $own; mkdir -p /tmp/theirs/vde_vmnet; ln -s /tmp/theirs/vde_vmnet $own/vde_vmnet; "
                + "trap_clients; chown -R nobody /tmp/theirs; chown -h nobody $own/vde_vmnet; chown daemon $own",
        ])
        func hostileRuntimeDirectoryIsNotUsed(making: String) throws {
            let result = try run(
                """
                trap_clients() {
                    /usr/bin/python3 -c '
                import os, socket, sys
                s = socket.socket(socket.AF_UNIX)
                s.bind(sys.argv[1])
                os.chmod(sys.argv[1], 0o777)
                s.listen()
                while True:
                    s.accept()
                    open("/tmp/caught", "w")
                ' $own/vde_vmnet/trap &
                    trap=$!
                    await '[ -S $own/vde_vmnet/trap ]'
                }
                \(making)
                as daemon list --json
                as daemon status 2>/dev/null || echo "none: $?"
                as daemon status trap 2>/dev/null || echo "none: $?"
                as daemon doctor | grep -c runtime_directory
                start --uplink user --name mine
                cat /tmp/home/log >&2
                grep -cE 'no control socket|the same addresses' /tmp/home/log
                as daemon list --json | grep -o '"name":"[^"]*","socket":"[^"]*"' | sed "s|$own.[0-9a-z]*/|OWN/|"
                stat -c '%U %a' $own.*/vde_vmnet
                as daemon status mine >/dev/null && echo "its user sees it"
                as root status mine >/dev/null && echo "root sees it"
                as games list --json
                first=$network
                setpriv --reuid daemon --regid nogroup --clear-groups -- "$program" --switch --uplink user --name mine \
                    --vmnet-gateway 192.168.105.1 /tmp/home/other 2>/tmp/home/error; echo "second: $?"
                kill $first; wait $first; echo "ended: $?"
                start --uplink none --name mine
                ls -d $own.* | wc -l
                as daemon stop mine; wait $network; echo "ended: $?"
                ls $own/vde_vmnet
                [ ! -e /tmp/caught ] || echo "a client was caught"
                kill $trap
                """)
            #expect(
                result.output.split(separator: "\n").map(String.init) == [
                    "[]", "none: 69", "none: 69", "0", "0", #""name":"mine","socket":"OWN/vde_vmnet/mine""#,
                    "daemon 700", "its user sees it", "root sees it", "[]", "second: 75", "ended: 0", "1", "ended: 0",
                    "trap",
                ], "\(result.output)\(result.error)")
        }

        /// Sockets of another user that never reply: root's commands query a bounded number of them.
        @Test func silentSocketsOfOtherUserAreBounded() throws {
            let result = try run(
                """
                start --uplink user --name mine
                cat /tmp/home/log >&2
                place=/run/user/$(id -u games)/vde_vmnet
                mkdir -p $place && chown -R games /run/user/$(id -u games)
                setpriv --reuid games --regid nogroup --clear-groups -- /usr/bin/python3 -c '
                import signal, socket, sys
                sockets = [socket.socket(socket.AF_UNIX) for _ in range(300)]
                for number, s in enumerate(sockets):
                    s.bind("%s/s%03d" % (sys.argv[1], number))
                    s.listen()
                open(sys.argv[1] + "/made", "w")
                signal.pause()
                ' $place &
                silent=$!
                await "[ -e $place/made ]"
                as root list --json >/tmp/home/list 2>/tmp/home/error
                grep -o '"name":"mine","socket":"[^"]*"' /tmp/home/list | wc -l
                grep -o '"error":' /tmp/home/list | wc -l
                cat /tmp/home/error
                kill $silent $network
                """)
            #expect(
                result.output == """
                    1
                    64
                    vde_vmnet: games has more than 64 control sockets; only the first of them were asked

                    """, "\(result.output)\(result.error)")
        }

        /// A user puts links in its runtime directory, and sockets that are no networks: root's commands send nothing
        /// to what another user serves, and find the only network that runs.
        @Test func linksOfOtherUserLeadNowhere() throws {
            let result = try run(
                """
                start --uplink none --name mine
                user=$(id -u games) place=/run/user/$(id -u games)
                mkdir -p $place/vde_vmnet && chown -R games $place
                bait() {
                    setpriv --reuid "$1" --regid nogroup --clear-groups -- /usr/bin/python3 -c '
                import socket, sys
                s = socket.socket(socket.AF_UNIX)
                s.bind(sys.argv[1])
                s.listen()
                held = []
                while True:
                    held.append(s.accept()[0])
                    if sys.argv[2] and held[-1].recv(1): open(sys.argv[2], "w")
                ' "$2" "$3" &
                    await "[ -S $2 ]"
                }
                mkdir /run/root && bait root /run/root/bait /run/root/caught && root=$!
                bait games $place/vde_vmnet/silent "" && silent=$!
                ln -s $own/vde_vmnet/mine $place/vde_vmnet/other
                ln -s /run/root/bait $place/vde_vmnet/trap
                as root list --json | grep -o '"name":"[a-z]*"'
                as root status | head -n 1 | cut -d ' ' -f 8
                as root stop other 2>&1; echo "link: $?"
                as root stop $place/vde_vmnet/other 2>&1 | sed "s|$place|PLACE|; s|vde_vmnet list.*||"
                mv $place/vde_vmnet $place/was
                ln -s /run/root $place/vde_vmnet
                as root list --json | grep -o '"name":"[a-z]*"'
                as root doctor | grep -c 'rm --'
                kill -0 $network && echo "it still runs"
                [ ! -e /run/root/caught ] || echo "root was caught"
                kill $root $silent $network
                """)
            #expect(
                result.output == """
                    "name":"silent"
                    "name":"mine"
                    mine
                    vde_vmnet: error: no network is called 'other'; vde_vmnet list shows those that run
                    link: 69
                    vde_vmnet: error: PLACE/vde_vmnet/other is in a directory of games, and daemon serves it: it may \
                    be a link, and gets no request;\(" ")
                    "name":"mine"
                    0
                    it still runs

                    """, "\(result.output)\(result.error)")
        }

        /// Another user has filled /tmp. What needs no place there starts.
        @Test func fullTemporaryDirectoryDoesNotStopStart() throws {
            let result = try run(
                """
                mkdir /run/home && chown daemon /run/home && export HOME=/run/home
                mount -t tmpfs -o mode=1777,nr_inodes=2 none /tmp
                setpriv --reuid games --regid nogroup --clear-groups -- touch /tmp/mine
                setpriv --reuid daemon --regid nogroup --clear-groups -- "$program" --switch --uplink user \
                    /run/home/vde >/run/home/log 2>&1 &
                network=$!
                await 'grep -q "ready: " /run/home/log || ! kill -0 $network 2>/dev/null'
                cat /run/home/log >&2
                grep -c 'ready: 192.168.105.0/24 by user-mode NAT' /run/home/log
                remedy='No space left on device; make room on that disk, or set XDG_RUNTIME_DIR'
                grep -c "no control socket.*/tmp.*$remedy" /run/home/log
                grep -c "may choose the same addresses.*$remedy" /run/home/log
                kill $network; wait $network; echo "ended: $?"
                setpriv --reuid daemon --regid nogroup --clear-groups -- "$program" --switch --uplink user \
                    --name mine /run/home/vde 2>/run/home/log; echo "named: $?"
                """)
            #expect(result.output == "1\n1\n1\nended: 0\nnamed: 73\n", "\(result.output)\(result.error)")
        }

        @Test func readOnlyDirectoryIsNamed() throws {
            let result = try run(
                """
                mount -o remount,ro /run
                "$program" --switch --uplink user --name mine --state-dir /tmp/home/state /tmp/home/vde \
                    2>/tmp/home/error
                echo "ended: $?"
                grep -c 'mkdir /run/vde_vmnet: Read-only file system; make that file system writable' /tmp/home/error
                cat /tmp/home/error >&2
                """)
            #expect(result.output == "ended: 73\n1\n", "\(result.output)\(result.error)")
        }

        /// docs/control.md lists these refusals.
        @Test func vmnetRefusesChangesWhileItRuns() throws {
            let network = try TestNetwork()
            let path = network.folder.file("own"), socket = network.folder.file("control")
            let daemon = try VMNetDaemon(
                in: network.host,
                [
                    "--switch", "--uplink", "vmnet", "--control", socket, "--publish", "8080:192.168.64.2:80", path,
                ], folder: network.folder, product: "vde_vmnet_simulated")
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            let router = try #require(try guest.lease()["router"])
            let changes: [(words: [String], reason: String)] = [
                (["publish", "add", "8081:192.168.64.2:80"], "this uplink publishes no ports while it runs"),
                (["publish", "remove", "8080:192.168.64.2:80"], "this uplink publishes no ports while it runs"),
                (["egress", "deny"], "the uplink vmnet has no egress policy"),
                (["egress", "--log", "on"], "the uplink vmnet has no egress policy"),
                (["allow", "add", "203.0.113.0/24"], "the uplink vmnet has no egress policy"),
                (["allow", "remove", "203.0.113.0/24"], "the uplink vmnet has no egress policy"),
                (["port", "isolate", "all", "on"], "this uplink isolates guests from its start on, or never"),
            ]
            for change in changes {
                let result = try network.host.attempt(
                    [TestHost.product("vde_vmnet")] + change.words + ["--network", socket])
                #expect(result.termination == .exited(64), "\(change.words): \(result.termination) \(result.error)")
                #expect(result.error.contains(change.reason), "\(change.words): \(result.error)")
            }
            // The network goes on, and what is no matter of the uplink can change.
            #expect(try guest.namespace.pings(router))
            let ports = try network.host.attempt([TestHost.product("vde_vmnet"), "port", "list", "--network", socket])
            #expect(ports.succeeded && ports.output.contains("uplink"), "\(ports.error)")
            let limit = try network.host.attempt([
                TestHost.product("vde_vmnet"), "port", "limit", "2", "50mbit", "--network", socket,
            ])
            #expect(limit.succeeded, "\(limit.error)")
            #expect(try guest.namespace.pings(router))
            #expect(try daemon.stop() == .exited(0))
        }
    }
}
