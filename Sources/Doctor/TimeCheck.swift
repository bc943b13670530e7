// SPDX-License-Identifier: Apache-2.0
import Platform

/// The host's clock, by which leases on disk are dated.
struct TimeCheck: HostCheck {
    static let name = "time"
    /// 2025-01-01; this program is younger.
    private static let earliest: Int64 = 1_735_689_600

    /// Seconds since 1970.
    let now: Int64
    let leases: [NetworkFacts.Lease]
    /// The longest lease that the network gives, in seconds.
    let leaseTime: Int
    let socket: String
    let isMacOS: Bool

    static func gathered(_ scene: Scene) -> TimeCheck {
        TimeCheck(
            now: WallClock.seconds, leases: scene.network?.leases ?? [],
            leaseTime: scene.network?.leaseTime ?? 0, socket: scene.network?.socket ?? "",
            isMacOS: scene.identity.isMacOS)
    }

    var diagnoses: [Diagnosis] {
        if now < Self.earliest {
            return [
                Self.failed(
                    .clockBehind, "the clock of this host is \((Self.earliest - now) / 86_400) days before 2025",
                    isMacOS
                        ? Remedy.sudo("sntp", "-sS", "time.apple.com") : Remedy.sudo("timedatectl", "set-ntp", "true"))
            ]
        }
        if let future = leases.first(where: { $0.secondsLeft > leaseTime }) {
            return [
                Self.warning(
                    .leasesInFuture,
                    """
                    the lease of \(future.address) has \(future.secondsLeft) s left, and a lease lasts \(leaseTime) s: \
                    the clock was ahead when it was given, or an earlier start gave longer leases
                    """,
                    ShellText.command("vde_vmnet", "lease", "release", "\(future.address)", "--network", socket))
            ]
        }
        return Self.ok("the clock is plausible")
    }
}
