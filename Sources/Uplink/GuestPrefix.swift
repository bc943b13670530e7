// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Logging
import NetworkModel
import Platform
import Wire

/// The IPv6 prefix of a guest network: chosen at random once (RFC 4193 section 3.2.2), and kept in a file beside the
/// leases, so that guests keep their addresses.
package enum GuestPrefix {
    private static let limit = 64

    /// The prefix of the network `guests`.
    /// - Parameters:
    ///   - directory: of the file; nil for the default.
    ///   - fallback: the upper half of the prefix if it cannot be kept.
    package static func load(
        _ guests: IPv4Network, in directory: String?, fallback: UInt64, _ logger: Logger
    ) -> IPv6Network {
        do throws(ExitError) {
            let path =
                try StateDirectories.state(directory) + "/\(guests.description.replacing(text: "/", with: "-")).prefix"
            return try load(path, logger)
        } catch {
            let network = IPv6Network(containing: IPv6Address(fallback, 0), prefixLength: 64)
            logger.warning(
                "\(error); guests have \(network), which other hosts may use for their guests, too (--ipv6 PREFIX)")
            return network
        }
    }

    /// The guests' IPv6 network as the user has chosen it; nil for none.
    /// - Parameter isSupported: the uplink's side has IPv6.
    /// - Throws: if the chosen prefix is in use, or cannot be.
    package static func choose(
        _ options: UplinkOptions, _ guests: GuestNetwork, isSupported: Bool = true, _ logger: Logger
    ) throws(ExitError) -> IPv6Network? {
        if options.ipv6 == .off { return nil }
        guard isSupported, options.mtu >= IPv6Header.minimumMTU else {
            let reason =
                isSupported
                ? "packets of \(options.mtu) bytes are too short for it (--vmnet-mtu)" : "this host has none"
            let remedy = isSupported ? "raise --vmnet-mtu to \(IPv6Header.minimumMTU), or " : ""
            if options.ipv6 != .automatic {
                throw ExitError(.unavailable, "--ipv6: \(reason); \(remedy)write --ipv6 off")
            }
            logger.info("guests have no IPv6: \(reason)")
            return nil
        }
        guard case .prefix(let chosen) = options.ipv6 else {
            return load(
                guests.network, in: options.stateDirectory,
                fallback: options.uniqueLocalPrefix(gateway: guests.gateway), logger)
        }
        let used = (try? NetworkInterfaces.addresses6()) ?? []
        if let other = used.first(where: { $0.network.contains(chosen.base) || chosen.contains($0.address) }) {
            throw ExitError(
                .unavailable,
                """
                --ipv6 \(chosen) overlaps \(other.network), which this host uses on \(other.interface); choose another \
                prefix, or leave it out
                """)
        }
        return chosen
    }

    private static func load(_ path: String, _ logger: Logger) throws(ExitError) -> IPv6Network {
        do throws(SystemError) {
            if Files.exists(path) {
                let text = String(decoding: try read(path), as: UTF8.self)
                if let network = IPv6Choice.network(text.prefix { $0 != "\n" }) { return network }
                logger.warning("\(path) has no prefix of IPv6, such as fd12:3456:789a::/64; a new one is chosen")
            }
            let high = 0xfd << 56 | (Random.value() as UInt64 >> 24) << 16
            let network = IPv6Network(containing: IPv6Address(high, 0), prefixLength: 64)
            try Files.replace(path, Array("\(network)\n".utf8))
            return network
        } catch {
            throw ExitError(.cannotCreate, error.explanation)
        }
    }

    private static func read(_ path: String) throws(SystemError) -> [UInt8] {
        try Files.open(path, [.readOnly, .noFollow, .nonBlocking]).readAll(limit: limit)
    }
}
