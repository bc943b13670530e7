// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import ControlSocket
import NameService
import NetworkConfiguration
import NetworkModel
import NetworkReports
import Platform
import Sessions
import Switching
import Uplink

// Where guests may go: the egress policy, and isolation.

extension NetworkControl {
    private static let mostAllowed = 256

    func addEgressMethods() {
        add("egress.get", .details) { (it, _, _) throws(ControlError) in it.egressStatus }
        add("egress.set", .change) { (it, client, params) throws(ControlError) in
            let word = try params.requiredString("policy")
            guard word == "allow" || word == "deny" else {
                throw ControlError(
                    .parameters, "policy: '\(PrintableText.line(word, limit: 64))' is neither allow nor deny")
            }
            var policy = it.network.configuration.egress
            policy.setDenying(word == "deny")
            try it.setEgress(policy, client)
            it.note(client, "sets the egress policy to \(word)")
            return it.egressStatus
        }
        add("egress.log", .change) { (it, client, params) throws(ControlError) in
            let isOn = try params.requiredBool("log")
            _ = try it.egressUplink()
            if it.start.logsRefusals && !isOn { try it.require(.loosen, client, "log of refusals") }
            try it.orRefuse { () throws(ChangeRefusal) in
                try it.network.refusals.setLog(
                    isOn, of: it.network.configuration.egress, hasEvents: it.eventState.hasRefusals)
            }
            it.network.configuration.logsRefusals = isOn
            it.note(client, isOn ? "logs what the egress policy refuses" : "ends the log of refusals")
            return it.egressStatus
        }
        add("allow.add", .change) { (it, client, params) throws(ControlError) in
            let destination = try NetworkControl.destination(params)
            _ = try it.egressUplink()
            var policy = it.network.configuration.egress
            if let reason = destination.refusal(in: it.network.configuration.domain) {
                throw ControlError(.parameters, reason)
            }
            guard policy.isDenying else {
                throw ControlError(
                    .conflict, "every destination is allowed; deny the others first: vde_vmnet egress deny")
            }
            guard !policy.allowed.contains(destination) else {
                throw ControlError(.conflict, "\(destination) is allowed already")
            }
            guard policy.allowed.count < NetworkControl.mostAllowed else {
                throw ControlError(.busy, "\(NetworkControl.mostAllowed) destinations are allowed; remove one")
            }
            policy.allowed.append(destination)
            try it.setEgress(policy, client)
            it.note(client, "allows \(destination)")
            return it.egressStatus
        }
        add("allow.remove", .change) { (it, client, params) throws(ControlError) in
            let destination = try NetworkControl.destination(params)
            _ = try it.egressUplink()
            var policy = it.network.configuration.egress
            guard policy.allowed.contains(destination) else {
                throw ControlError(.notFound, "\(destination) is not in the list; vde_vmnet allow list shows it")
            }
            policy.allowed.removeAll { $0 == destination }
            try it.setEgress(policy, client)
            it.note(client, "no longer allows \(destination)")
            return it.egressStatus
        }
        add("isolation.set", .change) { (it, client, params) throws(ControlError) in
            let isOn = try params.requiredBool("isolation")
            guard it.network.session?.ownsSwitch == true else {
                throw ControlError(.unsupported, "another process runs the switch, and forwards between its guests")
            }
            if it.start.isIsolating && !isOn { try it.require(.loosen, client, "isolation") }
            try it.isolateAtUplink(isOn || it.network.session?.hasIsolatedPorts == true)
            it.network.control.setIsolation(isOn)
            it.network.configuration.isIsolating = isOn
            it.note(client, isOn ? "keeps guests from each other" : "lets guests reach each other")
            return .object([])
        }
    }

    /// Has the uplink keep guests from each other, or no longer.
    func isolateAtUplink(_ isIsolating: Bool) throws(ControlError) {
        guard let uplink = network.uplink, !uplink.isBridged else { return }
        try orRefuse { () throws(ChangeRefusal) in try uplink.change(isolating: isIsolating) }
    }

    /// Refuses what root alone may do.
    func require(_ right: ControlRights, _ client: ControlClient, _ what: String) throws(ControlError) {
        guard !client.rights.contains(right) else { return }
        throw ControlError(
            .denied,
            """
            root has started this network, so that loosening its \(what) is root's; start it with --control-allow \
            \(right.names.joined(separator: ","))
            """)
    }

    private static func destination(_ params: JSON) throws(ControlError) -> AllowedDestination {
        let text = try NetworkControl.word(params, "destination")
        do throws(AllowedDestination.Refusal) {
            return try AllowedDestination.parse(text)
        } catch {
            throw ControlError(.parameters, error.description)
        }
    }

    /// The uplink, if it leads guests to the outside and can restrict where they go.
    private func egressUplink() throws(ControlError) -> any Uplink {
        let uplink = try routedUplink()
        guard network.configuration.mode == .shared else {
            throw ControlError(.unsupported, "guests of a host network reach no destination outside")
        }
        guard uplink.hasEgressPolicy else {
            throw ControlError(
                .unsupported, "the uplink \(uplink.details.kind) has no egress policy; use --uplink tap or user")
        }
        return uplink
    }

    private func setEgress(_ policy: EgressPolicy, _ client: ControlClient) throws(ControlError) {
        let isLooser =
            start.egress.isDenying
            && (!policy.isDenying || !Set(policy.allowed).isSubset(of: start.egress.allowed))
        let isStricter =
            policy.isDenying && Set(policy.allowed).isSubset(of: network.configuration.egress.allowed)
        if isLooser && !isStricter { try require(.loosen, client, "egress policy") }
        let uplink = try egressUplink()
        try orRefuse { () throws(ChangeRefusal) in try uplink.change(egress: policy) }
        network.configuration.egress = policy
        network.names?.policy.egress = policy
    }
}
