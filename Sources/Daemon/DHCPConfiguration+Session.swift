// SPDX-License-Identifier: Apache-2.0
import DHCPService

extension DHCPConfiguration {
    /// Notes what the session says of the network: whether another server is possible, and whether every client's port
    /// is known.
    mutating func adapt(to session: (any NetworkSession)?) {
        isAuthoritative = !(session is PlugSession)
        knowsPorts = session is SwitchSession
    }
}
