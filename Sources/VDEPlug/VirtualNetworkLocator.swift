// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// A virtual network locator (VNL), as libvdeplug calls the VDE argument, in the forms that libvdeplug 2 and vdeplug 4
/// share (vde_plug(1), vde_open(3)).
package enum VirtualNetworkLocator: Equatable, Sendable {
    /// A switch's control directory and one of its ports; 0 for any free port, `managementPort` for port 0 itself.
    case switchDirectory(path: String, port: Int)
    /// No argument: the default directories of a switch, in the order in which to try them.
    case defaultSwitch(candidates: [String], port: Int)
    /// A cable between two ends without a switch, by sockets at this path.
    case pointToPoint(path: String)

    /// Stands for `VDE[0]`.
    package static let managementPort = -1
    /// The request has 24 bits for the port.
    private static let maximumPort = 0xff_ffff

    /// - Parameters:
    ///   - text: nil or empty for the default switch; `PATH`, `PATH[N]`, `PATH[]`, `vde://PATH`, `ptp://PATH`.
    ///   - home: the user's home directory, for the default switch.
    /// - Throws: why the locator is invalid, and what to write instead.
    package init(_ text: String?, home: String?) throws(UnclassifiedError) {
        // Such as of a variable that is not set. The default would be another network.
        if text == "" {
            throw UnclassifiedError("the path of the VDE network is empty; give one, such as /tmp/vde, or leave it out")
        }
        let text = text ?? ""
        var rest = Substring(text)
        if let scheme = text.firstRange(ofText: "://") {
            rest = text[scheme.upperBound...]
            switch text[..<scheme.lowerBound] {
            case "vde": break
            case "ptp":
                guard !rest.isEmpty else { throw UnclassifiedError("'\(text)' names no path: write ptp://PATH") }
                self = .pointToPoint(path: String(rest))
                return
            case let other:
                throw UnclassifiedError(
                    "'\(other)://' is not supported here: give the directory of a VDE switch, or ptp://PATH")
            }
        }
        var port = 0
        if rest.last == "]", let bracket = rest.lastIndex(of: "[") {
            let inside = rest[rest.index(after: bracket)...].dropLast()
            rest = rest[..<bracket]
            if inside.isEmpty && !text.hasPrefix("vde://") {
                guard !rest.isEmpty else {
                    throw UnclassifiedError(
                        "'[]' needs a path: write PATH[] for a cable without a switch")
                }
                self = .pointToPoint(path: String(rest))
                return
            }
            if !inside.isEmpty {
                let digits = inside.hasPrefix("port=") ? inside.dropFirst(5) : inside
                guard let number = Int(digits), (0...VirtualNetworkLocator.maximumPort).contains(number),
                    digits.first?.isNumber == true
                else {
                    throw UnclassifiedError(
                        """
                        '[\(inside)]' is not a port of a switch: write \(rest)[N] with a number, or \(rest)[] \
                        for a cable without a switch
                        """
                    )
                }
                port = number == 0 ? VirtualNetworkLocator.managementPort : number
            }
        }
        if rest.isEmpty {
            var candidates: [String] = []
            if let home { candidates = [home + "/.vde2/default.switch", home + "/.vde2/stdsock"] }
            self = .defaultSwitch(candidates: candidates + ["/var/run/vde.ctl", "/tmp/vde.ctl"], port: port)
        } else {
            self = .switchDirectory(path: String(rest), port: port)
        }
    }
}
