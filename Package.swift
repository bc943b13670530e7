// swift-tools-version:6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

/// Swift 6 mode, strict memory safety (unsafe code lives in files named *+Unsafe.swift only), and views that cannot outlive their bytes.
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
            name: "Switching", dependencies: ["Platform", "Frames", "Wire", .product(name: "Atomics", package: "swift-atomics")], swiftSettings: swift),
        .target(name: "VDE", dependencies: ["Platform", "Wire"], swiftSettings: swift),
        .target(name: "AddressService", dependencies: ["Wire", "Frames"], swiftSettings: swift),
        .target(name: "Uplinks", dependencies: ["Platform", "Wire"], swiftSettings: swift),
        .target(
            name: "Daemon",
            dependencies: ["AddressService", "Switching", "Uplinks", "VDE", "Platform", "Wire", .product(name: "Logging", package: "swift-log")],
            swiftSettings: swift),
        .target(name: "NetworkCheck", dependencies: ["Platform", "Wire"], swiftSettings: swift),
        .target(
            name: "Commands",
            dependencies: [
                "Daemon", "NetworkCheck", "Uplinks", "VDE", "Platform", "Wire", .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swift),
        .executableTarget(name: "vde_vmnet", dependencies: ["Commands"], swiftSettings: swift),

        .target(name: "TestSupport", dependencies: ["Platform", "Wire"], path: "Tests/TestSupport", swiftSettings: swift),
        .testTarget(
            name: "IntegrationTests", dependencies: ["TestSupport", "Platform", "Wire", "vde_vmnet"], swiftSettings: swift),
    ]
)
