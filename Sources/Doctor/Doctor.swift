// SPDX-License-Identifier: Apache-2.0
import Platform

// Theory of operation. A check is a value: the facts about one part of the host. Its `gathered` reads them from the
// kernel, from files, from other programs or from the control socket; its `diagnoses` depends on the facts alone. So
// tests drive the judgement with any facts, and the gathering with hosts that are made of namespaces. Nothing changes
// the host. One thread runs the checks, in the order of `run`.

/// Examines the host, and a running network if there is one.
package struct Doctor {
    /// What is examined.
    package enum Subject: Sendable {
        /// The host, before the start of a network.
        case host
        case network(NetworkFacts)
        /// The directory of a switch.
        case switchDirectory(String)
        /// A control socket without a network.
        case staleSocket(String)
    }

    private let subject: Subject
    private let identity: ProgramIdentity
    private let report: (Diagnosis) -> Void

    /// - Parameter report: called with each diagnosis, at once.
    package init(_ subject: Subject, _ identity: ProgramIdentity, report: @escaping (Diagnosis) -> Void) {
        self.subject = subject
        self.identity = identity
        self.report = report
    }

    /// Runs all checks.
    /// - Returns: whether none has failed.
    package func run() -> Bool {
        var holds = true
        func note(_ check: some HostCheck) {
            for diagnosis in check.diagnoses {
                if diagnosis.outcome == .failed { holds = false }
                report(diagnosis)
            }
        }
        let scene = Scene(subject, identity)
        note(ProgramCheck.gathered(scene))
        if identity.isMacOS {
            note(SignatureCheck.gathered(scene))
            note(InternetSharingCheck.gathered())
            note(ApplicationFirewallCheck.gathered())
            note(LocalNetworkCheck.gathered(scene))
            note(PacketFilterCheck.gathered())
            note(SubnetOwnerCheck.gathered(scene))
        } else {
            note(TunCheck.gathered(scene))
            note(NFTablesCheck.gathered(scene))
            note(FirewallCheck.gathered(scene))
            note(ForwardingCheck.gathered(scene))
            note(RouteCheck.gathered(scene))
        }
        note(ResolverCheck.gathered(scene))
        if !identity.isMacOS {
            note(ServicePortCheck.gathered(scene))
            note(SubnetCheck.gathered(scene))
            note(MTUCheck.gathered(scene))
            note(PingCheck.gathered(scene))
        }
        note(SocketCheck.gathered(scene))
        if !identity.isMacOS { note(BufferCheck.gathered(scene)) }
        if let network = scene.network {
            note(UplinkCheck.gathered(network))
            note(LeaseCheck(network))
            note(AddressCheck(network))
        }
        note(TimeCheck.gathered(scene))
        return holds
    }
}

/// The program that the doctor belongs to.
package struct ProgramIdentity: Sendable {
    /// The program's.
    package let version: String
    /// Whether the program has vmnet.framework.
    package let hasVmnet: Bool
    /// Whether the checks of macOS apply.
    package let isMacOS: Bool
    /// The control directory of this user, which may be missing.
    package let controlDirectory: String
    /// Control sockets that no process serves.
    package let staleSockets: [String]

    package init(
        version: String, hasVmnet: Bool, isMacOS: Bool, controlDirectory: String, staleSockets: [String]
    ) {
        self.version = version
        self.hasVmnet = hasVmnet
        self.isMacOS = isMacOS
        self.controlDirectory = controlDirectory
        self.staleSockets = staleSockets
    }
}
