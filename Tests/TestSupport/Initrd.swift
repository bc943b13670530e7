// SPDX-License-Identifier: Apache-2.0
import Platform

/// The root file system of a test guest: busybox, the modules of a virtio network card, and an agent that takes
/// commands at the console. A `newc` cpio archive (Linux Documentation/driver-api/early-userspace/buffer-format.rst).
enum Initrd {
    /// Printed when the agent waits for its first command.
    static let readyMark = "@@agent-ready"
    /// Printed after each command, followed by its exit status.
    static let doneMark = "@@agent-done"

    private static let initScript = """
        #!/bin/busybox sh
        /bin/busybox mkdir -p /proc /sys /dev /tmp /etc /root /sbin /usr/bin /usr/sbin /www
        /bin/busybox mount -t proc proc /proc
        /bin/busybox mount -t sysfs sys /sys
        /bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
        /bin/busybox --install -s
        export PATH=/bin:/sbin:/usr/bin:/usr/sbin
        for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover \
        virtio_net crc-ccitt ipv6 libcrc32c nfnetlink nf_defrag_ipv4 nf_defrag_ipv6 nf_conntrack nf_nat nf_reject_ipv4 \
        nf_reject_ipv6 nf_tables nft_ct nft_chain_nat nft_nat nft_masq nft_reject nft_reject_inet nft_fib nft_fib_ipv4 \
        nft_fib_ipv6 nft_fib_inet nft_hash nft_limit nft_log nfnetlink_log tun veth; do
          [ -f /modules/$m.ko ] && insmod /modules/$m.ko
        done
        ip link set lo up
        cat > /etc/udhcpc.sh <<'SCRIPT'
        #!/bin/sh
        case $1 in
          bound|renew)
            ip addr flush dev $interface
            ip addr add $ip/$mask dev $interface
            [ -z "$mtu" ] || ip link set $interface mtu $mtu
            [ -z "$router" ] || ip route replace default via $router
            : > /etc/resolv.conf
            [ -z "$domain" ] || echo "search $domain" >> /etc/resolv.conf
            for d in $dns; do echo "nameserver $d" >> /etc/resolv.conf; done
            echo "ip=$ip router=$router dns=$dns lease=$lease" ;;
        esac
        SCRIPT
        chmod 755 /etc/udhcpc.sh
        stty -echo -onlcr 2>/dev/null
        echo \(readyMark)
        while read -r line; do
          ( eval "$line" ) </dev/null 2>&1
          echo "\(doneMark) $?"
        done
        poweroff -f

        """

    /// Writes the archive.
    /// - Parameters:
    ///   - tools: files that the guest has in /bin.
    ///   - files: absolute paths of files that it has at the same place.
    static func write(to path: String, modules: [String], tools: [String] = [], files: [String] = []) throws {
        var archive = Archive()
        for directory in ["bin", "modules", "dev"] { archive.add(directory, mode: 0o040755, []) }
        archive.add("init", mode: 0o100755, Array(initScript.utf8))
        archive.add("bin/busybox", mode: 0o100755, try Files.read("/bin/busybox"))
        for tool in tools {
            archive.add(
                "bin/" + (tool.split(separator: "/").last.map(String.init) ?? ""), mode: 0o100755, try Files.read(tool))
        }
        for file in files { try archive.addWithFolders(file) }
        // The kernel opens it before anything is mounted; without it there is no console (character device 5, 1).
        archive.add("dev/console", mode: 0o020600, [], device: (5, 1))
        for module in modules {
            archive.add(
                "modules/" + (module.split(separator: "/").last.map(String.init) ?? ""), mode: 0o100644,
                try Files.read(module))
        }
        try Files.replace(path, archive.finished())
    }

    private struct Archive {
        private var bytes: [UInt8] = []
        private var inode = 1
        private var folders: Set<String> = ["bin", "modules", "dev"]

        mutating func add(_ name: String, mode: Int, _ contents: [UInt8], device: (Int, Int) = (0, 0)) {
            let fields = [inode, mode, 0, 0, 1, 0, contents.count, 0, 0, device.0, device.1, name.utf8.count + 1, 0]
            bytes += Array("070701".utf8)
            for field in fields {
                let digits = String(field, radix: 16)
                bytes += Array((String(repeating: "0", count: 8 - digits.count) + digits).utf8)
            }
            bytes += Array(name.utf8) + [0]
            pad()
            bytes += contents
            pad()
            inode += 1
        }

        mutating func addWithFolders(_ path: String) throws {
            let names = path.split(separator: "/")
            for count in 1..<names.count {
                let folder = names[..<count].joined(separator: "/")
                if folders.insert(folder).inserted { add(folder, mode: 0o040755, []) }
            }
            add(names.joined(separator: "/"), mode: 0o100755, try Files.read(path))
        }

        mutating func finished() -> [UInt8] {
            add("TRAILER!!!", mode: 0, [])
            return bytes
        }

        private mutating func pad() {
            while bytes.count % 4 != 0 { bytes.append(0) }
        }
    }
}
