// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// `make demo-mac`: a guest behind vde_vmnet as it is on a Mac, with its C files and a simulated vmnet.framework whose
/// bridge is a TAP of this system; what macOS would do for the network (NAT) is set up here.
enum SimulatedMacDemo {
    private static let gateway = "192.168.64.1"

    static func run(_ show: Show) throws {
        show.say(
            "Nothing of this is a Mac: vmnet.framework is simulated, its bridge100 a TAP in a network namespace, its "
                + "NAT a rule of nftables."
        )
        let network = try TestNetwork()
        try network.startInternet()
        let path = network.folder.file("vde"), settings = "tap=bridge100"
        show.heading("vde_vmnet with the code for macOS")
        show.command("VMNET_SIMULATOR=\(settings) vde_vmnet_simulated --switch \(path)")
        let daemon = try VMNetDaemon(
            in: network.host, ["--switch", path], folder: network.folder, environment: ["VMNET_SIMULATOR": settings],
            level: "info", product: "vde_vmnet_simulated",
            echo: { show.output($0) })
        try network.host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        try network.host.run(
            "nft", "-f", "-",
            input:
                "table ip sharing { chain post { type nat hook postrouting priority srcnat; oifname \"wan\" "
                + "masquerade; }; }\n"
        )
        show.heading("A virtual machine of QEMU (software emulation, Debian's kernel)")
        show.command("qemu-system-x86_64 -device virtio-net-pci,netdev=net0 -netdev vde,id=net0,sock=\(path) ...")
        let guest = try VirtualMachine.qemu(
            "guest", netdev: "vde,id=net0,sock=\(path)", mac: "52:54:00:12:34:56", in: network.host,
            folder: network.folder)
        try guest.waitUntilBooted()
        var address = ""
        show.check("lease by DHCP") {
            address = VirtualMachine.address(in: try guest.lease())
            return address
        }
        show.check("ping the gateway") { try guest.succeed("ping -c 1 -W 5 \(gateway)", showing: "time=") }
        show.check("a page from beyond the host, through NAT") {
            let page = try guest.succeed("wget -q -O - http://\(TestNetwork.internetAddress)/", showing: "Hello")
            let seen = try guest.succeed(
                "wget -q -O - http://\(TestNetwork.internetAddress)/cgi-bin/who", showing: TestNetwork.hostAddress)
            return "\"\(page)\"; the server saw \(seen)"
        }
        show.check("the host: TCP to the guest's own address") {
            try guest.run("mkdir -p /www && echo 'a word from the guest' > /www/index.html && httpd -p 80 -h /www")
            let page = try network.host.fetch(address)
            guard page == "a word from the guest" else { throw CommandFailed(description: "got: \(page)") }
            return "\"\(page)\" from \(address)"
        }
        show.end([guest], daemon.program, path: path)
    }
}
