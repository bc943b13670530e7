// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// The rules of the house (ARCHITECTURE.md), as far as a program can tell.
@Suite struct HouseTests {
    /// Paths of the files below `folder`, relative to the package.
    private static func files(_ folder: String, _ suffixes: [String]) throws -> [String] {
        var found: [String] = []
        for name in try Files.entries(TestHost.packageRoot + "/" + folder).sorted() {
            let path = folder + "/" + name
            if try Files.status(TestHost.packageRoot + "/" + path, followLinks: false).kind == .directory {
                found += try files(path, suffixes)
            } else if suffixes.contains(where: { name.hasSuffix($0) }) {
                found.append(path)
            }
        }
        return found
    }

    private static let sources = (try? files("Sources", [".swift", ".c", ".h"])) ?? []
    private static let tests = (try? files("Tests", [".swift"])) ?? []

    private func lines(_ path: String) throws -> [Substring] {
        String(decoding: try Files.read(TestHost.packageRoot + "/" + path), as: UTF8.self).split(
            separator: "\n", omittingEmptySubsequences: false)
    }

    @Test func everyFileNamesItsLicence() throws {
        #expect(Self.sources.count > 50)
        for path in Self.sources + Self.tests + [
            "Makefile", "Package.swift", "ci/install-packages", "ci/fetch-guest-kernel", "ci/host-state", ".ci/run",
        ] {
            #expect(
                try lines(path).prefix(2).contains { $0.contains("SPDX-License-Identifier: Apache-2.0") }, "\(path)")
        }
    }

    @Test func unsafeCodeIsConfinedByFileName() throws {
        for path in Self.sources where path.hasSuffix(".swift") && !path.hasSuffix("+Unsafe.swift") {
            for line in try lines(path) where !line.drop(while: { $0 == " " }).hasPrefix("//") {
                let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_") }
                #expect(!words.contains("unsafe") && !words.contains { $0.hasPrefix("Unsafe") }, "\(path): \(line)")
            }
        }
    }

    @Test func foundationStaysOut() throws {
        for path in Self.sources where path.hasSuffix(".swift") {
            #expect(
                try !lines(path).contains { $0.hasPrefix("import Foundation") || $0.hasPrefix("import Dispatch") },
                "\(path)")
        }
    }

    @Test func systemsAreAskedForInFewPlaces() throws {
        // Which C library to import, how sockaddr_un is laid out, and that a Mac has vmnet.framework.
        let places = ["Sources/Wire/VDERequest.swift", "Sources/vde_vmnet/Main.swift"]
        for path in Self.sources
        where path.hasSuffix(".swift") && !path.hasPrefix("Sources/Platform/")
            && !path.hasPrefix("Sources/FrameIO/")
        {
            #expect(
                try places.contains(path)
                    || !lines(path).contains { $0.contains("#if os(") || $0.contains("#if canImport(") }, "\(path)")
        }
    }

    @Test func clientsAreAcceptedInOnePlace() throws {
        // That place knows what to do when descriptors run out.
        for path in Self.sources where path.hasSuffix(".swift") && path != "Sources/Platform/Acceptance.swift" {
            #expect(try !lines(path).contains { $0.contains(".accept()") }, "\(path)")
        }
    }

    @Test func nothingIsLeftForLater() throws {
        for path in Self.sources + Self.tests where path != "Tests/HouseTests/HouseTests.swift" {
            for word in ["TODO", "FIXME", "XXX"] {
                #expect(try !lines(path).contains { $0.contains(word) }, "\(path): \(word)")
            }
        }
    }

    @Test func filesStayReadable() throws {
        for path in Self.sources { #expect(try lines(path).count <= 400, "\(path)") }
    }
}
