// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkModel

/// How guests get IPv6.
struct IPv6Argument: ExpressibleByArgument {
    let choice: IPv6Choice

    init?(argument: String) {
        guard let choice = IPv6Choice(argument) else { return nil }
        self.choice = choice
    }
}
