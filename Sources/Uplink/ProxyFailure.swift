// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a proxy has not connected.
package enum ProxyFailure: Hashable, Sendable {
    /// The system's error: the proxy itself cannot be reached.
    case unreachable(Int32)
    case timedOut
    /// It has closed the connection.
    case closed
    /// Its answer is none of its protocol.
    case malformed
    /// The head of its answer is longer than any proxy's (HTTP).
    case longHead
    case needsCredentials
    /// It does not accept those that were given.
    case credentials
    /// It accepts neither a user and a password nor a client without them (SOCKS5).
    case noMethod
    /// Its reply has an address of a type that SOCKS5 does not have.
    case addressType(UInt8)
    /// The reply of SOCKS5, or the status of HTTP.
    case refused(Int)

    /// For a message: the cause, and the next step.
    package func text(_ kind: ProxyServer.Kind) -> String {
        switch self {
        case .unreachable(let code): "\(SystemError(code: code, "connect")); check that it runs"
        case .timedOut: "no answer in time; check that it runs, and reaches the destination"
        case .closed: "it has closed the connection; check its log"
        case .malformed: "its answer is not \(kind == .http ? "HTTP; try socks5://" : "SOCKS5; try http://")"
        case .longHead: "the head of its answer is too long; check that it is an HTTP proxy"
        case .needsCredentials: "it needs a user and a password; use --proxy-credentials FILE"
        case .credentials: "it does not accept the user and the password; check --proxy-credentials"
        case .noMethod: "it accepts neither a user and a password nor clients without them; check its configuration"
        case .addressType(let type): "its reply has an address of the unknown type \(type); check that it is SOCKS5"
        case .refused(let code): kind == .http ? ProxyFailure.text(ofHTTP: code) : ProxyFailure.text(ofSocks: code)
        }
    }

    /// RFC 1928 section 6.
    private static func text(ofSocks code: Int) -> String {
        let (cause, step) =
            switch code {
            case 1: ("it has failed", "check its log")
            case 2: ("its rules refuse the destination", "check them")
            case 3: ("it has no route to the destination's network", "check the routes of the proxy's host")
            case 4: ("it does not reach or resolve the destination", "check the destination, and the proxy's DNS")
            case 5: ("the destination refuses the connection", "check that its service runs")
            case 6: ("the time to live has expired on the way", "check the routes of the proxy's host")
            case 7: ("it does not support CONNECT", "use another proxy")
            case 8: ("it does not support this kind of address", "use another proxy, or --ipv6 off if it has no IPv6")
            default: ("it sends a reply that SOCKS5 does not have", "check its log")
            }
        return "\(cause) (SOCKS5 reply \(code)); \(step)"
    }

    /// RFC 9110 section 15.
    private static func text(ofHTTP status: Int) -> String {
        let (cause, step) =
            switch status {
            case 300..<400: ("it redirects to a page, such as one for a login", "open that page in a browser")
            case 400: ("it does not understand the request", "check that it supports CONNECT")
            case 401: ("it responds as a web server that needs a login", "check that it is a proxy")
            case 403: ("its rules refuse the destination", "check them")
            case 404, 405, 501: ("it does not support CONNECT", "use another proxy or another port of it")
            case 429: ("it limits the number of connections", "check its limits")
            case 502: ("it does not resolve the destination, or is refused there", "check the destination, and its DNS")
            case 503: ("it is overloaded, or does not reach the destination", "check its log")
            case 504: ("the destination does not respond to it", "check the destination")
            case 500..<600: ("it has failed", "check its log")
            default: ("it refuses the destination", "check its rules")
            }
        return "\(cause) (HTTP status \(status)); \(step)"
    }
}
