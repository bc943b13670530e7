// SPDX-License-Identifier: Apache-2.0
import Platform

/// A host and, behind its uplink, another that plays the Internet: it has a web server and a name server, and has
/// nothing of private networks.
package final class TestNetwork {
    /// The host on which vde_vmnet runs.
    package let host: Namespace
    /// The Internet: 203.0.113.1 (RFC 5737).
    package let internet: Namespace
    package let folder: TemporaryFolder

    package static let internetAddress = "203.0.113.1"
    package static let hostAddress = "203.0.113.2"
    /// A name that the Internet's server has, for its own address.
    package static let internetName = "www.internet.example"

    private var servers: [BackgroundProgram] = []

    package init() throws {
        host = try Namespace("host")
        internet = try Namespace("internet")
        folder = try TemporaryFolder()
        try host.connect(to: internet, by: "wan", TestNetwork.hostAddress + "/24", TestNetwork.internetAddress + "/24")
        try host.ip("route", "add", "default", "via", TestNetwork.internetAddress)
    }

    /// Starts the Internet's web server, which returns its client's address, and its name server, the host's resolver.
    package func startInternet() throws {
        let pages = folder.file("www")
        try Files.makeDirectories(pages + "/cgi-bin")
        try Files.replace(pages + "/index.html", Array("Hello from the Internet\n".utf8))
        try Files.replace(
            pages + "/cgi-bin/who",
            Array("#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' \"$REMOTE_ADDR\"\n".utf8), mode: 0o755)
        servers.append(try internet.start(["busybox", "httpd", "-f", "-p", "80", "-h", pages]))
        servers.append(
            try internet.start([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                "--bind-interfaces", "--interface=eth0",
                "--address=/\(TestNetwork.internetName)/\(TestNetwork.internetAddress)",
            ]))
        try host.setResolvers("nameserver \(TestNetwork.internetAddress)\nsearch internet.example\n")
        for port in [80, 53] { try internet.waitForListener(on: port) }
    }
}
