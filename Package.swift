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
let blocks: [CSetting] = [
    .define("_GNU_SOURCE", .when(platforms: [.linux])),
    .unsafeFlags(["-fblocks"] + (toolchain.map { ["-isystem", $0] } ?? []), .when(platforms: [.linux])),
]
let blocksRuntime: [LinkerSetting] = [
    .linkedLibrary("dispatch", .when(platforms: [.linux])), .linkedLibrary("BlocksRuntime", .when(platforms: [.linux])),
    .linkedFramework("vmnet", .when(platforms: [.macOS])),
]

/// Swift 6 mode, strict memory safety (unsafe code lives in files named *+Unsafe.swift only), and views that cannot
/// outlive their bytes.
let swift: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableExperimentalFeature("Lifetimes"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
    name: "vde_vmnet",
    platforms: [.macOS(.v13)],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-atomics", from: "1.2.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    ],
    targets: [
        .target(name: "CPlatform", cSettings: [.define("_GNU_SOURCE", .when(platforms: [.linux]))]),
        .target(name: "Wire", swiftSettings: swift),
        .target(name: "Frames", dependencies: ["Wire"], swiftSettings: swift),
        .target(name: "Platform", dependencies: ["CPlatform", "Wire", "Frames"], swiftSettings: swift),
        .target(
            name: "Switching",
            dependencies: ["Platform", "Frames", "Wire", .product(name: "Atomics", package: "swift-atomics")],
            swiftSettings: swift),
        .target(name: "VDE", dependencies: ["Switching", "Platform", "Wire"], swiftSettings: swift),
        .target(name: "Doors", dependencies: ["Platform"], swiftSettings: swift),
        .target(name: "AddressService", dependencies: ["Wire", "Frames"], swiftSettings: swift),
        .target(name: "Uplinks", dependencies: ["Platform", "Wire"], swiftSettings: swift),
        .target(
            name: "UserUplink",
            dependencies: [
                "CPlatform", "Uplinks", "Frames", "Platform", "Wire",
                .product(name: "Atomics", package: "swift-atomics"),
            ], swiftSettings: swift),
        .target(
            name: "Daemon",
            dependencies: [
                "AddressService", "Switching", "Uplinks", "UserUplink", "VDE", "Doors", "Platform", "Wire",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swift),
        // vmnet.framework: on a Mac the real one, on Linux the simulator in the program vde_vmnet_simulated only.
        .target(name: "CVmnetAPI"),
        .target(name: "CVmnet", dependencies: ["CVmnetAPI"], cSettings: blocks, linkerSettings: blocksRuntime),
        .target(
            name: "VmnetUplink", dependencies: ["CVmnet", "Uplinks", "Frames", "Platform", "Wire"], swiftSettings: swift
        ),
        .target(name: "NetworkCheck", dependencies: ["Platform", "Wire"], swiftSettings: swift),
        .target(
            name: "Commands",
            dependencies: [
                "Daemon", "Doors", "NetworkCheck", "Switching", "Uplinks", "VDE", "Platform", "Wire",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swift),
        .executableTarget(
            name: "vde_vmnet",
            dependencies: ["Commands", .target(name: "VmnetUplink", condition: .when(platforms: [.macOS]))],
            swiftSettings: swift),

        .target(
            name: "TestSupport", dependencies: ["Platform", "Wire"], path: "Tests/TestSupport", swiftSettings: swift),
        .testTarget(name: "WireTests", dependencies: ["Wire", "TestSupport"], swiftSettings: swift),
        .testTarget(name: "FramesTests", dependencies: ["Frames", "Wire", "TestSupport"], swiftSettings: swift),
        .testTarget(
            name: "SwitchingTests", dependencies: ["Switching", "Frames", "Platform", "Wire", "TestSupport"],
            swiftSettings: swift),
        .testTarget(
            name: "AddressServiceTests", dependencies: ["AddressService", "Wire", "TestSupport"], swiftSettings: swift),
        .testTarget(
            name: "VDETests", dependencies: ["VDE", "Switching", "Platform", "Wire", "TestSupport"],
            swiftSettings: swift),
        .testTarget(name: "DoorsTests", dependencies: ["Doors", "Platform", "TestSupport"], swiftSettings: swift),
        .testTarget(
            name: "UplinksTests", dependencies: ["Uplinks", "Platform", "Wire", "TestSupport"], swiftSettings: swift),
        .testTarget(
            name: "UserUplinkTests",
            dependencies: ["UserUplink", "Frames", "CPlatform", "Uplinks", "Platform", "Wire", "TestSupport"],
            swiftSettings: swift),
        .testTarget(
            name: "DaemonTests",
            dependencies: [
                "Daemon", "AddressService", "Uplinks", "Platform", "Wire", "TestSupport",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swift),
        .testTarget(
            name: "CommandsTests",
            dependencies: [
                "Commands", "Daemon", "Doors", "Platform", "Uplinks", "VDE", "Wire",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: swift),
        .testTarget(
            name: "NetworkCheckTests", dependencies: ["NetworkCheck", "AddressService", "Platform", "Wire"],
            swiftSettings: swift),
        .testTarget(name: "HouseTests", dependencies: ["Platform", "TestSupport"], swiftSettings: swift),
    ],
    cLanguageStandard: .gnu17
)

#if os(Linux)
    // The simulator stands for what a Mac has, and whole hosts are made of Linux's namespaces.
    package.targets += [
        .target(name: "VmnetSimulator", dependencies: ["CVmnetAPI"], cSettings: blocks, linkerSettings: blocksRuntime),
        .executableTarget(
            name: "vde_vmnet_simulated",
            dependencies: ["Commands", "VmnetUplink", "VmnetSimulator", "Uplinks", "Platform"], swiftSettings: swift),
        .executableTarget(
            name: "vde_vmnet_demo", dependencies: ["TestSupport", "Platform", "Wire"], path: "Tests/Demo",
            swiftSettings: swift),
        .target(name: "Allocations", path: "Benchmarks/Allocations"),
        .executableTarget(
            name: "vde_vmnet_bench",
            dependencies: [
                "Allocations", "TestSupport", "VDE", "Switching", "VmnetUplink", "VmnetSimulator", "Uplinks", "Frames",
                "Platform", "Wire",
            ],
            path: "Benchmarks/Bench", swiftSettings: swift),
        .testTarget(
            name: "VmnetUplinkTests",
            dependencies: ["VmnetUplink", "VmnetSimulator", "Uplinks", "Frames", "Platform", "Wire", "TestSupport"],
            swiftSettings: swift),
        .testTarget(
            name: "IntegrationTests",
            dependencies: ["TestSupport", "VDE", "Platform", "Wire", "vde_vmnet", "vde_vmnet_simulated"],
            swiftSettings: swift),
    ]
#endif
