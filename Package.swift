// swift-tools-version:6.2
// SPDX-License-Identifier: Apache-2.0
import Foundation
import PackageDescription

/// On Linux the macOS code needs blocks and the C headers of dispatch, which come with the Swift toolchain but are not
/// handed to C targets.
let toolchain: String? = {
    let paths = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map { String($0) + "/swift" }
    guard let found = paths.first(where: { FileManager.default.isExecutableFile(atPath: $0) }) else { return nil }
    return URL(fileURLWithPath: found).resolvingSymlinksInPath().deletingLastPathComponent().deletingLastPathComponent()
        .path + "/lib/swift"
}()
let gnu: [CSetting] = [
    .define("_GNU_SOURCE", .when(platforms: [.linux])), .unsafeFlags(["-Wall", "-Wextra"]),
]
let blocks: [CSetting] =
    gnu + [.unsafeFlags(["-fblocks"] + (toolchain.map { ["-isystem", $0] } ?? []), .when(platforms: [.linux]))]
let blocksRuntime: [LinkerSetting] = [
    .linkedLibrary("dispatch", .when(platforms: [.linux])),
    .linkedLibrary("BlocksRuntime", .when(platforms: [.linux])),
    .linkedFramework("vmnet", .when(platforms: [.macOS])),
]

/// Swift 6 mode, strict memory safety (unsafe code lives in files named *+Unsafe.swift only), and views that cannot
/// outlive their bytes.
let language: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableExperimentalFeature("Lifetimes"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// For what is in the program: no regular expressions, which would make it a megabyte larger (`Sources/Wire/Text`), and
/// a section for each function, so that the linker of a release drops unused ones.
let swift: [SwiftSetting] =
    language + [
        .unsafeFlags(["-Xfrontend", "-disable-implicit-string-processing-module-import"]),
        .unsafeFlags(["-Xfrontend", "-function-sections"], .when(platforms: [.linux], configuration: .release)),
    ]

/// For targets that are not part of the data path: a release has them optimised for size.
let small: [SwiftSetting] = swift + [.unsafeFlags(["-Osize"], .when(configuration: .release))]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let atomics = Target.Dependency.product(name: "Atomics", package: "swift-atomics")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")

func library(_ name: String, _ dependencies: Target.Dependency...) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: swift)
}

func smallLibrary(_ name: String, _ dependencies: Target.Dependency...) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: small)
}

func program(_ name: String, _ dependencies: Target.Dependency..., path: String? = nil) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: path, swiftSettings: language)
}

/// Tests of one target of the same name.
func tests(of name: String, _ dependencies: Target.Dependency...) -> Target {
    .testTarget(
        name: name + "Tests", dependencies: [.target(name: name), "TestSupport"] + dependencies, swiftSettings: language
    )
}

let package = Package(
    name: "vde_vmnet",
    platforms: [.macOS(.v13)],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-atomics", from: "1.2.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    ],
    targets: [
        // What everything stands on: formats, the operating system, frames in memory and on descriptors.
        .target(name: "CPlatform", cSettings: gnu),
        library("CLibrary"),
        library("Timing"),
        library("Wire"),
        library("Platform", "CLibrary", "CPlatform", "Timing", "Wire"),
        library("FrameIO", "CLibrary", "CPlatform", "Platform", "Timing", "Wire", atomics),
        smallLibrary("NetworkModel", "Timing", "Wire"),
        smallLibrary("ControlProtocol"),
        library("Capture", "Platform", "Wire"),
        smallLibrary("EventLoop", "Platform", "Timing", logging),
        smallLibrary("Lifecycle", "Platform", "Timing", logging),

        // The switch, and how guests and other switches are connected to it.
        library("Switching", "CLibrary", "CPlatform", "Capture", "FrameIO", "Platform", "Timing", "Wire", atomics),
        smallLibrary("VDEPlug", "Platform", "Timing", "Wire"),
        smallLibrary("VDESwitch", "Switching", "Platform", "Timing", "Wire"),
        smallLibrary("Listeners", "Platform", "Timing"),
        library("VirtioRing", "CLibrary", "CPlatform", "FrameIO", "Platform", "Wire"),
        smallLibrary("VhostUser", "CPlatform", "EventLoop", "Platform", "VirtioRing", "Wire"),
        smallLibrary(
            "ControlSocket", "ControlProtocol", "EventLoop", "Lifecycle", "Listeners", "Platform", "Timing", logging),

        // The services for guests, the uplinks, and how they change the host.
        smallLibrary(
            "DHCPService", "EventLoop", "Lifecycle", "NetworkModel", "Platform", "Switching", "Timing", "Wire",
            logging),
        smallLibrary(
            "TFTPService", "EventLoop", "Lifecycle", "NetworkModel", "Platform", "Switching", "Timing", "Wire",
            logging),
        smallLibrary("RouterService", "EventLoop", "Platform", "Switching", "Timing", "Wire", logging),
        smallLibrary("HostFirewall", "EventLoop", "NetworkModel", "Platform", "Timing", "Wire", logging),
        smallLibrary("HostChanges", "HostFirewall", "Lifecycle", "NetworkModel", "Platform", "Timing", "Wire", logging),
        smallLibrary(
            "Uplink", "DHCPService", "EventLoop", "HostFirewall", "Lifecycle", "NetworkModel", "Platform", "Switching",
            "Timing", "Wire", logging),
        smallLibrary(
            "TapUplink", "DHCPService", "EventLoop", "FrameIO", "HostChanges", "HostFirewall", "Lifecycle",
            "NetworkModel", "Platform", "Switching", "Timing", "Uplink", "Wire", logging),
        library(
            "UserUplink", "CPlatform", "DHCPService", "EventLoop", "FrameIO", "HostChanges", "Lifecycle",
            "NetworkModel", "Platform", "Switching", "Timing", "Uplink", "Wire", atomics, logging),
        smallLibrary(
            "NameService", "EventLoop", "FrameIO", "HostChanges", "Lifecycle", "NetworkModel", "Platform", "Switching",
            "Timing", "UserUplink", "Wire", logging),
        smallLibrary(
            "VmnetUplink", "DHCPService", "EventLoop", "FrameIO", "Lifecycle", "NetworkModel", "Platform", "Switching",
            "Timing", "Uplink", "Wire", logging),
        // vmnet.framework: on a Mac the real one, on Linux the simulator, in the program vde_vmnet_simulated only.
        .target(name: "CVmnetAPI"),
        .target(name: "CVmnet", dependencies: ["CVmnetAPI"], cSettings: blocks, linkerSettings: blocksRuntime),
        library(
            "VmnetFramework", "CVmnet", "FrameIO", "NetworkModel", "Platform", "Timing", "Uplink", "VmnetUplink", "Wire"
        ),

        // The program.
        smallLibrary("NetworkCheck", "Platform", "VDEPlug", "Timing", "Wire"),
        smallLibrary(
            "Sessions", "EventLoop", "FrameIO", "Lifecycle", "Listeners", "Platform", "Switching", "Timing", "VDEPlug",
            "VDESwitch", "VhostUser", "VirtioRing", "Wire", logging),
        smallLibrary(
            "TapWithNAT", "DHCPService", "Lifecycle", "NetworkModel", "Platform", "Switching", "TapUplink", "Timing",
            "Uplink", "UserUplink", "Wire", logging),
        smallLibrary(
            "CaptureService", "Capture", "EventLoop", "Lifecycle", "Platform", "Switching", "Timing", "UserUplink",
            "VDESwitch", logging),
        smallLibrary(
            "NetworkConfiguration", "ControlSocket", "DHCPService", "Lifecycle", "NameService", "NetworkModel",
            "Platform", "Sessions", "Switching", "Uplink", "VDEPlug", "VmnetUplink", "Wire", logging),
        smallLibrary(
            "NetworkReports", "DHCPService", "EventLoop", "NameService", "NetworkModel", "Platform", "Switching",
            "Timing", "Uplink", "Wire", logging),
        smallLibrary(
            "NetworkControl", "Capture", "CaptureService", "ControlProtocol", "ControlSocket", "DHCPService",
            "EventLoop", "Lifecycle", "NameService", "NetworkConfiguration", "NetworkModel", "NetworkReports",
            "Platform", "RouterService", "Sessions", "Switching", "Timing", "Uplink", "VDESwitch", "Wire", logging),
        smallLibrary(
            "Daemon", "CaptureService", "ControlSocket", "DHCPService", "EventLoop", "FrameIO", "HostChanges",
            "HostFirewall", "Lifecycle", "NameService", "NetworkConfiguration", "NetworkControl", "NetworkModel",
            "NetworkReports", "Platform", "RouterService", "Sessions", "Switching", "TFTPService", "TapUplink",
            "TapWithNAT", "Timing", "Uplink", "UserUplink", "VDEPlug", "VmnetUplink", "Wire", logging),
        smallLibrary(
            "Doctor", "ControlProtocol", "HostChanges", "HostFirewall", "Lifecycle", "NameService", "NetworkModel",
            "Platform", "Timing", "Uplink", "Wire"),
        smallLibrary(
            "Commands", "Capture", "ControlProtocol", "ControlSocket", "Daemon", "Doctor", "EventLoop", "HostFirewall",
            "Lifecycle", "Listeners", "NameService", "NetworkCheck", "NetworkConfiguration", "NetworkModel", "Platform",
            "Sessions", "Switching", "TapUplink", "Timing", "Uplink", "VDEPlug", "VDESwitch", "VhostUser",
            "VmnetUplink", "Wire", argumentParser, logging),
        program("vde_vmnet", "Commands", .target(name: "VmnetFramework", condition: .when(platforms: [.macOS]))),

        .target(
            name: "TestSupport", dependencies: ["CLibrary", "Platform", "Timing", "Wire"], path: "Tests/TestSupport",
            swiftSettings: language),
        tests(of: "Timing"),
        tests(of: "Wire", "Platform"),
        tests(of: "FrameIO", "Timing", "Wire"),
        tests(of: "NetworkModel", "Timing", "Wire"),
        tests(of: "Capture", "CLibrary", "Platform", "Timing", "Wire"),
        tests(of: "EventLoop", "Platform", "Timing", logging),
        tests(of: "ControlProtocol"),
        tests(
            of: "ControlSocket", "ControlProtocol", "EventLoop", "Lifecycle", "Platform", "Timing", logging),
        tests(of: "Lifecycle", "Platform"),
        tests(of: "Switching", "Capture", "FrameIO", "Platform", "Timing", "Wire"),
        tests(of: "VDEPlug", "Platform", "Timing", "Wire"),
        tests(of: "VDESwitch", "Platform", "Switching", "Timing", "Wire"),
        tests(of: "Listeners", "Platform", "Timing"),
        tests(of: "VirtioRing", "CLibrary", "FrameIO", "Platform", "Timing", "Wire"),
        tests(of: "VhostUser", "EventLoop", "Platform", "VirtioRing"),
        tests(of: "DHCPService", "Lifecycle", "NetworkModel", "Platform", "Timing", "Wire", logging),
        tests(of: "RouterService", "Timing", "Wire"),
        tests(of: "TFTPService", "Platform", "Timing", "Wire"),
        tests(of: "NameService", "EventLoop", "NetworkModel", "Platform", "Timing", "Wire", logging),
        tests(of: "HostFirewall", "NetworkModel", "Timing", "Wire"),
        tests(of: "HostChanges", "NetworkModel", "Platform", "Wire"),
        tests(of: "TapUplink", "Platform"),
        tests(
            of: "UserUplink", "CPlatform", "FrameIO", "NetworkModel", "Platform", "Timing", "Uplink", "Wire"),
        tests(of: "NetworkCheck", "DHCPService", "NetworkModel", "Platform", "VDEPlug", "Timing", "Wire"),
        tests(
            of: "Doctor", "ControlProtocol", "HostFirewall", "NetworkModel", "Platform", "Wire"),
        tests(of: "Uplink", "DHCPService", "NetworkModel", "Platform", "Timing", "Wire", logging),
        tests(of: "NetworkConfiguration"),
        tests(of: "NetworkReports", "NetworkModel", "Platform", "Switching", "Timing", "Wire", logging),
        tests(
            of: "Commands", "ControlProtocol", "ControlSocket", "Daemon", "Lifecycle", "Listeners",
            "NetworkConfiguration", "NetworkModel", "Platform", "Sessions", "Switching", "Timing", "Uplink", "VDEPlug",
            "VDESwitch", "VhostUser", "Wire", argumentParser, logging),
        .testTarget(name: "TestSupportTests", dependencies: ["TestSupport", "Wire"], swiftSettings: language),
        // Rules about the sources, which a test and `make lint` apply. They use Foundation, and no other target.
        .target(name: "SourceRules", path: "Tests/SourceRules"),
        .executableTarget(name: "source_rules", dependencies: ["SourceRules"], path: "Tests/SourceRulesTool"),
        .testTarget(name: "SourceRulesTests", dependencies: ["SourceRules", "TestSupport"]),
        // Manual pages and completions, made of the argument parser's description of the command line.
        .target(name: "CommandReference", path: "Tools/CommandReference"),
        .executableTarget(
            name: "command_reference", dependencies: ["CommandReference"], path: "Tools/CommandReferenceTool"),
        .testTarget(name: "CommandReferenceTests", dependencies: ["CommandReference", "Platform", "TestSupport"]),
        // The program `split` of ci/release-build, without its main file.
        .target(name: "ObjectSplitter", path: "Tools/ObjectSplitter"),
        .testTarget(name: "ObjectSplitterTests", dependencies: ["ObjectSplitter", "Platform", "TestSupport"]),
    ],
    cLanguageStandard: .gnu17
)

#if os(Linux)
    // The simulator stands for what a Mac has, and whole hosts are made of Linux's namespaces.
    package.targets += [
        .target(name: "VmnetSimulator", dependencies: ["CVmnetAPI"], cSettings: blocks, linkerSettings: blocksRuntime),
        program(
            "vde_vmnet_simulated", "Commands", "Platform", "Timing", "Uplink", "VmnetFramework", "VmnetSimulator",
            "VmnetUplink"),
        program("vde_vmnet_demo", "Platform", "TestSupport", "Timing", "Wire", path: "Tests/Demo"),
        .target(name: "Allocations", path: "Benchmarks/Allocations"),
        program(
            "vde_vmnet_bench", "Allocations", "FrameIO", "NetworkModel", "Platform", "Switching", "TestSupport",
            "Timing", "Uplink", "UserUplink", "VDEPlug", "VmnetFramework", "VmnetSimulator", "VmnetUplink", "Wire",
            path: "Benchmarks/Bench"),
        tests(
            of: "VmnetFramework", "FrameIO", "NetworkModel", "Platform", "Timing", "Uplink", "VmnetSimulator",
            "VmnetUplink", "Wire"),
        // The Debian package in a clean Debian: make prove-deb.
        .testTarget(name: "PackageTests", dependencies: ["Platform", "TestSupport", "Timing"], swiftSettings: swift),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "CommandReference", "DHCPService", "FrameIO", "TestSupport", "Timing", "VDEPlug", "Platform", "Wire",
                "vde_vmnet", "vde_vmnet_simulated",
            ],
            swiftSettings: language),
    ]
#endif
