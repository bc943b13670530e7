// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import VmnetUplink
import Wire

/// Messages for vmnet's status codes. One code may have several causes. Missing privilege is one of them, which Apple's
/// framework reports as a general failure.
enum VmnetStatus {
    static let timedOut: Int32 = 0

    private static let signature =
        """
        from macOS 26 on a program signed with the entitlement com.apple.security.virtualization needs no root (make \
        sign)
        """

    /// The next step if a privilege is missing. Root already has one of the two.
    private static func privilege(_ isRoot: Bool) -> String {
        isRoot
            ? "root is enough on macOS 15 and earlier; \(signature), and may have to be signed for root as well"
            : "on macOS 15 and earlier run this with sudo; \(signature)"
    }

    /// The error for a port that could not be published.
    static func failure(_ status: Int32, publishing published: PublishedPort) -> VmnetError {
        let code = status == timedOut ? "did not answer in time" : "refused (\(status))"
        return VmnetError(
            status: status,
            description:
                """
                --publish \(published): vmnet.framework \(code); the port may be another network's: publish another, \
                or leave it out
                """
        )
    }

    static func failure(
        _ status: Int32, starting options: VmnetOptions? = nil, isRoot: Bool, bridgeable: [String] = []
    ) -> VmnetError {
        if case .bridged(let interface)? = options?.mode, !bridgeable.contains(interface) {
            let list = bridgeable.isEmpty ? "none on this Mac" : bridgeable.joined(separator: ", ")
            return VmnetError(
                status: status, description: "\(interface) cannot be bridged; --vmnet-interface takes one of: \(list)")
        }
        let text =
            switch status {
            case timedOut:
                """
                vmnet.framework did not answer in time; its service may hang, for which only a restart of the Mac is \
                known to help
                """
            case 1001 where options?.needsNetworkObject == true && options?.network != nil:
                """
                vmnet.framework refused (1001): \(options?.network?.network.description ?? "the network") is in use, \
                or \(options?.externalInterface ?? "the uplink") cannot lead out; choose another --vmnet-gateway, or \
                leave it out
                """
            case 1001:
                isRoot
                    ? """
                    vmnet.framework refused (1001): the network is in use by another program or in another mode, \
                    or it is not private; choose another --vmnet-gateway, or leave it out
                    """
                    : """
                    vmnet.framework refused (1001), most likely because of missing privilege: \
                    \(privilege(isRoot)); otherwise the network is in use: choose another --vmnet-gateway
                    """
            case 1002:
                """
                vmnet.framework found no memory (1002), which is also how it reports a missing entitlement: \
                \(privilege(isRoot))
                """
            case 1003:
                """
                vmnet.framework rejected an argument (1003): check --vmnet-gateway, --vmnet-dhcp-end, --vmnet-mask and \
                --vmnet-mtu
                """
            case 1004: "vmnet.framework was not ready (1004); try again"
            case 1005: "vmnet.framework denies access (1005): \(privilege(isRoot))"
            case 1006:
                "a frame was longer than the network's MTU allows (1006); raise --vmnet-mtu, or lower the guest's MTU"
            case 1007: "vmnet.framework is out of buffers (1007); it is overloaded, try again"
            case 1008: "too many frames in one call (1008): an error of this program, please report it"
            case 1009:
                "Internet Sharing is on and has the network (1009); switch it off in System Settings, General, Sharing"
            case 1010: "vmnet.framework requires an authorization (1010): \(privilege(isRoot))"
            default:
                """
                vmnet.framework failed with status \(status), which this program does not know: try again, and report \
                it
                """
            }
        let mayBePermission = [1005, 1010].contains(status) || (!isRoot && [1001, 1002].contains(status))
        return VmnetError(status: status, description: text, isPermission: mayBePermission)
    }
}
