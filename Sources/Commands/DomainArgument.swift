// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkModel

/// The value of `--domain`: a domain, or `off`.
enum DomainArgument: ExplainedArgument {
    case domain(GuestDomain)
    case off

    init?(argument: String) {
        if argument == "off" {
            self = .off
        } else if let domain = GuestDomain(argument) {
            self = .domain(domain)
        } else {
            return nil
        }
    }

    static func refusal(of text: String) -> String {
        GuestDomain.refusal(of: text) ?? "it is not a domain; write one, such as vm.internal"
    }
}
