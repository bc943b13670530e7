// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// `vde_vmnet version` for people and for programs, without privilege.
    @Suite struct Versions {
        private func run(_ options: String..., searching libraries: String? = nil) throws -> ChildProcess.Output {
            let environment = libraries.map { ["env", "LD_LIBRARY_PATH=\($0)"] } ?? []
            return try ChildProcess.run(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] + environment
                    + [TestHost.product("vde_vmnet")] + options)
        }

        /// The lines as a dictionary: what is before the colon, and what is after it.
        private func lines(_ text: String) -> [String: String] {
            var found: [String: String] = [:]
            for line in text.split(separator: "\n").dropFirst() {
                guard let colon = line.firstRange(of: ": ") else { continue }
                found[String(line[..<colon.lowerBound])] = String(line[colon.upperBound...])
            }
            return found
        }

        @Test func versionCommandNamesVersionSystemAndFeatures() throws {
            let version = try run("--version"), result = try run("version")
            #expect(version.succeeded && result.succeeded && result.error.isEmpty)
            let number = String(version.output.prefix { $0 != "\n" })
            #expect(number.split(separator: ".").count == 3 && version.output == number + "\n")
            #expect(result.output.hasPrefix("vde_vmnet \(number)\n"))
            let facts = lines(result.output)
            let system = try ChildProcess.run(["uname", "-srm"]).output.prefix { $0 != "\n" }
            #expect(facts["system"] == String(system))
            #expect(facts["TAP"] == "yes, with libnftables")
            #expect(facts["user-mode NAT"] == "yes")
            #expect(facts["vmnet.framework"] == "no" && facts["vhost-user"] == "yes")
            #expect(facts["commit"]?.isEmpty == false)
        }

        @Test func versionCommandPrintsOneObject() throws {
            let number = try run("--version").output.prefix { $0 != "\n" }
            let result = try run("version", "--json")
            #expect(result.succeeded && result.error.isEmpty)
            let architecture = try ChildProcess.run(["uname", "-m"]).output.prefix { $0 != "\n" }
            #expect(result.output.hasPrefix("{\"version\":\"\(number)\",\"commit\":"))
            #expect(result.output.hasSuffix("}}\n") && result.output.filter { $0 == "\n" }.count == 1)
            for member in [
                "\"name\":\"Linux\"", "\"architecture\":\"\(architecture)\"", "\"tap\":true",
                "\"nftables\":\"libnftables\"",
                "\"user\":true", "\"vmnet\":false", "\"vhost-user\":true",
            ] {
                #expect(result.output.contains(member), "\(member) is not in \(result.output)")
            }
        }

        /// A program that reads nothing must not take it for success.
        @Test(arguments: ["version", "version --json", "list --json", "interfaces"])
        func closedStandardOutputIsReported(_ command: String) throws {
            let result = try ChildProcess.run(
                ["sh", "-c", "exec \"$0\" \(command) >&-", TestHost.product("vde_vmnet")])
            #expect(result.termination == .exited(74), "\(result.error)")
            #expect(result.error.contains("cannot write to standard output: "), "\(result.error)")
        }

        /// Without libnftables, nft sets the rules. An empty file hides the library.
        @Test func versionCommandNamesMissingLibrary() throws {
            let folder = try TemporaryFolder()
            let files = ["libnftables.so.1"].map { folder.file($0) }
            #expect(try ChildProcess.run(["touch"] + files).succeeded)
            #expect(try ChildProcess.run(["chmod", "-R", "a+rX", folder.path]).succeeded)
            let text = try run("version", searching: folder.path).output
            #expect(lines(text)["TAP"] == "yes, with nft")
            let json = try run("version", "--json", searching: folder.path).output
            #expect(json.contains("\"nftables\":\"nft\",\"user\":true"))
        }
    }
}
