// SPDX-License-Identifier: Apache-2.0
import Platform

/// /dev/net/tun, of which TAPs are made.
struct TunCheck: HostCheck {
    static let name = "tun"
    private static let path = "/dev/net/tun"

    /// Why no network here needs it; nil if one does.
    let exemption: String?
    /// nil if the device can be opened.
    let error: SystemError?
    /// Whether the file's mode lets this user open it, so that something else denies it.
    var isPermittedByMode = false

    static func gathered(_ scene: Scene) -> TunCheck {
        var found: SystemError?
        do throws(SystemError) {
            // A device that is a plain file can be opened as well.
            if try Files.status(path).kind == .regular {
                found = SystemError(code: Errno.noDevice, "open", path)
            } else {
                _ = try Files.open(path, [.readWrite, .nonBlocking])
            }
        } catch {
            found = error
        }
        return TunCheck(
            exemption: scene.usesTap
                ? scene.network == nil ? nil : "the network has its TAP already" : "the network has no TAP",
            error: found, isPermittedByMode: Files.isWritable(path))
    }

    var diagnoses: [Diagnosis] {
        if let exemption { return Self.ok("not needed: \(exemption)") }
        guard let error else { return Self.ok("\(Self.path) can be opened") }
        switch error.code {
        case Errno.noEntry:
            return [
                Self.failed(
                    .tunMissing,
                    "there is no \(Self.path): the kernel's module tun is not loaded, or a container hides it",
                    Remedy.sudo("modprobe", "tun"))
            ]
        case Errno.accessDenied where isPermittedByMode, Errno.notPermitted where isPermittedByMode:
            return [
                Self.failed(
                    .tunDenied, "\(error): the rules of a container or the mount of /dev deny it, not its mode",
                    "vde_vmnet --uplink user")
            ]
        case Errno.accessDenied, Errno.notPermitted:
            return [Self.failed(.tunDenied, "\(error)", Remedy.sudo("chmod", "0666", Self.path))]
        default:
            return [
                Self.failed(
                    .tunUnusable, "\(error); the file is not the kernel's device",
                    "sudo sh -c 'rm -f \(Self.path) && modprobe tun && mknod -m 0666 \(Self.path) c 10 200'")
            ]
        }
    }
}
