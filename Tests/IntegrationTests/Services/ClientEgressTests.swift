// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// A policy of names with the clients that users have: apt with a repository, curl with HTTPS and a certificate
    /// authority, git by its own protocol and by HTTPS.
    @Suite struct ClientEgress {
        private typealias Fixture = NamedEgressFixture
        private static let rules = ["site.example:443", "site.example:9418", "*.debian.example:80"]

        /// Makes a git repository and a repository of Debian with one package below `www`.
        private static let repositories = """
            set -e
            cd "$1"
            git init -q work
            echo 'a file' >work/file
            git -C work add file
            git -C work -c user.name=t -c user.email=t@t.example commit -q -m first
            git clone -q --bare work tool.git
            git -C tool.git update-server-info
            mkdir -p debian package/DEBIAN package/usr/share/tool
            echo 'of a package' >package/usr/share/tool/file
            printf 'Package: tool\\nVersion: 1\\nArchitecture: all\\nMaintainer: t <t@t.example>\\nDescription: t\\n' \
                >package/DEBIAN/control
            dpkg-deb -b --root-owner-group package debian/tool.deb >/dev/null
            cat package/DEBIAN/control >debian/Packages
            printf 'Filename: ./tool.deb\\nSize: %s\\nSHA256: %s\\n' "$(stat -c %s debian/tool.deb)" \
                "$(sha256sum debian/tool.deb | cut -d ' ' -f 1)" >>debian/Packages
            """

        /// apt's settings, with all its files in a folder.
        private static func settings(_ folder: String) -> String {
            """
            Dir "\(folder)"; Dir::State::status "\(folder)/status"; Dir::Etc::parts "none"; Dir::Log "\(folder)";
            APT::Sandbox::User "root"; Acquire::Retries "0"; Acquire::http::Proxy "DIRECT"; Acquire::Languages "none";
            Acquire::http::Timeout "10"; Dir::Bin::Methods "/usr/lib/apt/methods";

            """
        }

        @Test(arguments: [("tap", []), ("user", []), ("user", ["--check-names"])])
        func packagesPagesAndRepositoriesOfAllowedNamesArrive(uplink: String, options: [String]) throws {
            let fixture = try Fixture(uplink, Self.rules, options: options, securePort: 443)
            let folder = fixture.control.folder, internet = fixture.control.network.internet, pages = folder.file("www")
            try internet.run("sh", "-c", Self.repositories, "sh", pages)
            let daemon = try internet.start(["git", "daemon", "--export-all", "--reuseaddr", "--base-path=" + pages])
            try internet.waitForListener(on: 9418)
            let guest = try fixture.guest()
            try guest.namespace.setResolvers("nameserver \(gateway)\n")
            func attempt(_ words: String..., with more: [String: String] = [:]) throws -> ChildProcess.Output {
                var environment: [String: String?] = ["http_proxy": nil, "https_proxy": nil, "all_proxy": nil]
                environment["HOME"] = folder.path
                environment["GIT_SSL_CAINFO"] = fixture.authority
                for (name, value) in more { environment[name] = value }
                return try guest.namespace.attempt(["timeout", "60"] + words, environment: environment)
            }

            // apt
            let apt = folder.file("apt"), configuration = folder.file("apt.conf")
            for path in ["state/lists/partial", "cache/archives/partial", "etc/apt", "var/lib/dpkg"] {
                try Files.makeDirectories(apt + "/" + path)
            }
            try Files.replace(apt + "/status", [])
            try Files.replace(configuration, Array(Self.settings(apt).utf8))
            func update(from site: String) throws -> ChildProcess.Output {
                try Files.replace(
                    apt + "/etc/apt/sources.list", Array("deb [trusted=yes] http://\(site)/debian ./\n".utf8))
                return try attempt(
                    "apt-get", "-o", "APT::Update::Error-Mode=any", "update", with: ["APT_CONFIG": configuration])
            }
            let forbidden = try update(from: "forbidden.example")
            #expect(!forbidden.succeeded && forbidden.error.contains("resolv"), "\(forbidden)")
            let refused = try update(from: Fixture.forbidden)
            #expect(!refused.succeeded && refused.error.contains("onnection refused"), "\(refused)")
            let updated = try update(from: "deb.debian.example")
            #expect(updated.succeeded, "\(updated)")
            let downloaded = try attempt(
                "sh", "-c",
                "cd \(apt) && apt-get -q download tool && dpkg-deb --fsys-tarfile tool*.deb | tar -xO "
                    + "./usr/share/tool/file", with: ["APT_CONFIG": configuration])
            #expect(downloaded.output.hasSuffix("of a package\n"), "\(downloaded)")

            // curl, with the certificate checked. 6: the name is not resolved. 7: refused. 35: reset in the handshake.
            let secure = ["curl", "-sS", "--max-time", "10", "--cacert", fixture.authority]
            func curl(_ words: String...) throws -> ChildProcess.Output {
                try guest.namespace.attempt(secure + ["--noproxy", "*"] + words)
            }
            #expect(try curl("https://site.example/").output == "a site\n")
            try fixture.secureServer?.wait(for: "name site.example", within: 10)
            #expect(try curl("https://forbidden.example/").termination == .exited(6))
            #expect(
                try curl("--resolve", "forbidden.example:443:\(Fixture.forbidden)", "https://forbidden.example/")
                    .termination == .exited(7))
            // The address of an allowed name: only a check of names within connections sees the other name.
            let fronted = try curl(
                "-k", "--resolve", "forbidden.example:443:\(Fixture.site)", "https://forbidden.example/")
            #expect(fronted.termination == .exited(options.isEmpty ? 0 : 35), "\(fronted)")

            // git
            for (url, name) in [("git://site.example/tool.git", "plain"), ("https://site.example/tool.git", "secure")] {
                let clone = try attempt("git", "clone", "-q", url, folder.file(name))
                #expect(clone.succeeded && Files.text(folder.file(name) + "/file") == "a file", "\(url): \(clone)")
            }
            for (url, reason) in [
                ("git://forbidden.example/tool.git", "look up"), ("https://forbidden.example/tool.git", "resolve"),
                ("git://\(Fixture.forbidden)/tool.git", "refused"),
            ] {
                let result = try attempt("git", "ls-remote", url)
                #expect(!result.succeeded && result.error.contains(reason), "\(url): \(result)")
            }
            daemon.kill()
            #expect(try fixture.control.daemon.stop() == .exited(0))
        }
    }
}
