// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// On what the numbers were measured.
struct HostDescription {
    let lines: [(String, String)]

    init() {
        func file(_ path: String) -> String {
            (Files.text(path) ?? "").split(separator: "\n").first.map(String.init) ?? ""
        }
        func field(_ path: String, _ name: String) -> String {
            let line = (Files.text(path) ?? "").split(separator: "\n").first { $0.hasPrefix(name) } ?? ""
            return line.split(separator: ":", maxSplits: 1).last.map { String($0.drop { $0 == " " || $0 == "\t" }) }
                ?? ""
        }
        func printed(_ command: [String]) -> String {
            (try? ChildProcess.run(command).output.split(separator: "\n").first.map(String.init)) ?? ""
        }
        let processors = (Files.text("/proc/cpuinfo") ?? "").split(separator: "\n").filter { $0.hasPrefix("processor") }
            .count
        lines = [
            ("processor", "\(processors) x \(field("/proc/cpuinfo", "model name"))"),
            ("memory", field("/proc/meminfo", "MemTotal")),
            ("kernel", file("/proc/sys/kernel/osrelease")),
            (
                "system",
                field("/etc/os-release", "PRETTY_NAME").replacing("PRETTY_NAME=", with: "").replacing("\"", with: "")
            ),
            ("busy before the start", "load \(file("/proc/loadavg"))"),
            ("date", printed(["date", "-u", "+%Y-%m-%d %H:%M UTC"])),
            ("peers", HostDescription.versions(["vde2", "libvdeplug2", "qemu-system-x86", "passt"])),
        ]
    }

    private static func versions(_ packages: [String]) -> String {
        let output =
            (try? ChildProcess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}, "] + packages).output) ?? ""
        return String(output.dropLast(2))
    }
}

/// How much of a processor a program has used.
enum ProcessorTime {
    /// Nanoseconds of all threads of a process so far.
    static func used(by process: Int32) -> Double {
        let folder = "/proc/\(process)/task"
        let threads = (try? Files.entries(folder)) ?? []
        return threads.reduce(0) {
            $0 + (Double((Files.text("\(folder)/\($1)/schedstat") ?? "").split(separator: " ").first ?? "0") ?? 0)
        }
    }

    /// Resident memory in bytes.
    static func memory(of process: Int32) -> Double {
        let line =
            (Files.text("/proc/\(process)/status") ?? "").split(separator: "\n").first { $0.hasPrefix("VmRSS") } ?? ""
        return (Double(line.filter(\.isNumber)) ?? 0) * 1024
    }
}

/// The C programs beside this file, which `make bench` has built.
enum Tool {
    static let folder = CurrentProcess.environment("BENCH_TOOLS") ?? TestHost.packageRoot + "/.build/bench"
    static let frames = folder + "/frames", relay = folder + "/relay", stream = folder + "/stream"
    static let datagrams = folder + "/datagrams"

    /// What a tool printed, as `name value` lines.
    static func values(_ output: ChildProcess.Output) throws -> [String: Double] {
        guard output.succeeded else {
            throw CommandFailed(description: "\(output.termination): \(output.output)\(output.error)")
        }
        return values(in: output.output)
    }

    static func values(in text: String) -> [String: Double] {
        var values: [String: Double] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 2, let value = Double(words[1]) { values[String(words[0])] = value }
        }
        return values
    }
}
