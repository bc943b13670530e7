// SPDX-License-Identifier: Apache-2.0
import Platform

/// nft(8) with a copy of libnftables, which our program does not find: it runs nft, and does not own its tables.
package struct SeparateNFT {
    /// The words before our program.
    package let wrapper: [String]
    /// The environment of our program.
    package let environment: [String: String?]

    /// - Parameter text: scripts with this text fail, as on a kernel that lacks what it stands for.
    package init(_ network: TestNetwork, refusing text: String? = nil) throws {
        let library = try network.host.run(
            "sh", "-c", "readlink -f $(ldconfig -p | sed -n 's/.*libnftables.so.1 .*=> //p' | head -1)"
        ).trimmed
        let folder = network.folder.file("nft")
        try Files.makeDirectories(folder)
        try network.host.run("cp", library, folder + "/libnftables.so.1")
        try network.host.run("cp", "/usr/sbin/nft", folder + "/nft.real")
        let refusal =
            text.map {
                """
                case $script in *'\($0)'*)
                    echo 'Error: Could not process rule: Operation not supported' >&2
                    exit 1
                esac

                """
            } ?? ""
        try Files.replace(
            folder + "/nft",
            Array(
                """
                #!/bin/sh
                script=$(cat)
                \(refusal)printf '%s\\n' "$script" | LD_LIBRARY_PATH=\(folder) \(folder)/nft.real "$@"

                """.utf8), mode: 0o755)
        wrapper = ["unshare", "-m", "sh", "-c", "mount --bind /dev/null \(library); exec \"$@\"", "sh"]
        environment = ["PATH": folder + ":/usr/sbin:/usr/bin:/sbin:/bin"]
    }
}
