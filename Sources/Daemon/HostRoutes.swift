// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Whether this host can lead guests anywhere.
enum HostRoutes {
    /// No default route, nor the halves of the Internet that VPNs route instead; false where routes cannot be listed.
    static var isOffline: Bool {
        guard let routes = try? NetworkInterfaces.routes() else { return false }
        return !routes.contains { $0.destination.prefixLength <= 1 && !$0.isLocal }
    }

    static let offlineNotice =
        "this host is offline (it has no default route): guests reach it and each other, and nothing else until it has one"
}
