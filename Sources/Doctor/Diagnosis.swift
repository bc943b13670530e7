// SPDX-License-Identifier: Apache-2.0
import Platform

/// What a check of the host has found.
package struct Diagnosis: Equatable, Sendable {
    /// The raw values are part of `doctor --json`.
    package enum Outcome: String, Sendable {
        case ok, warning, failed
    }

    /// The check, a fixed word such as `tun`.
    package let check: String
    /// A host with a failed check is broken.
    package let outcome: Outcome
    /// nil if the outcome is `ok`.
    package let cause: Cause?
    /// One line for people, which may contain text of other programs.
    package let detail: String
    /// A command line that fixes the cause, quoted for a shell; nil if the outcome is `ok`.
    package let command: String?
}

/// Facts about one part of the host, and the judgement of them.
package protocol HostCheck: Sendable {
    /// A fixed word that scripts compare.
    static var name: String { get }
    /// At least one diagnosis. Depends on the facts only.
    var diagnoses: [Diagnosis] { get }
}

extension HostCheck {
    /// Nothing is wrong.
    static func ok(_ detail: String) -> [Diagnosis] { [fine(detail)] }

    static func fine(_ detail: String) -> Diagnosis {
        Diagnosis(check: name, outcome: .ok, cause: nil, detail: detail, command: nil)
    }

    static func warning(_ cause: Cause, _ detail: String, _ command: String) -> Diagnosis {
        Diagnosis(check: name, outcome: .warning, cause: cause, detail: detail, command: command)
    }

    static func failed(_ cause: Cause, _ detail: String, _ command: String) -> Diagnosis {
        Diagnosis(check: name, outcome: .failed, cause: cause, detail: detail, command: command)
    }
}

/// Commands that several checks propose.
enum Remedy {
    /// Runs as root.
    static func sudo(_ words: String...) -> String { ShellText.command(["sudo"] + words) }

    /// Sets a kernel setting until the next boot.
    /// - Parameter path: relative to /proc/sys. sysctl(8) takes slashes, which do not clash with dots in names.
    static func set(_ path: String, _ value: String) -> String { sudo("sysctl", "-w", "\(path)=\(value)") }

    /// Installs a package with the host's package manager.
    /// - Parameter manager: as `Installer.found`.
    static func install(_ package: [Installer: String], by manager: Installer) -> String {
        let name = package[manager] ?? package[.apt] ?? ""
        return ShellText.command(["sudo"] + manager.words + [name])
    }
}

/// A package manager.
package enum Installer: String, CaseIterable, Sendable {
    case apt = "apt-get", dnf, pacman, zypper, apk

    /// The first one that is installed; apt if there is none.
    static var found: Installer { allCases.first { Programs.find($0.rawValue) != nil } ?? .apt }

    fileprivate var words: [String] {
        switch self {
        case .apt, .dnf, .zypper: [rawValue, "install"]
        case .pacman: [rawValue, "-S"]
        case .apk: [rawValue, "add"]
        }
    }
}
