// SPDX-License-Identifier: Apache-2.0
import Capture
import DHCPService
import Lifecycle
import Logging
import NetworkModel
import Platform
import Sessions
import Switching
import Wire

extension Daemon {
    /// Starts the capture of `--pcap`.
    /// - Throws: `noPermission` or `cannotCreate` if the file cannot be written.
    func openCaptureFile() throws(ExitError) {
        guard let path = configuration.pcap else { return }
        do throws(SystemError) {
            let file = try PrivateOutput.open(path)
            guard try file.status().kind == .regular else {
                throw SystemError(code: Errno.invalid, "write to a FIFO or device", path)
            }
            try startCapture(to: file, path)
        } catch {
            let isDenied = [Errno.accessDenied, Errno.notPermitted].contains(error.code)
            throw ExitError(
                isDenied ? .noPermission : .cannotCreate,
                """
                --pcap: \(error); give a file in a directory that exists and is writable, or use vde_vmnet capture for \
                a pipe
                """)
        }
    }

    private func startCapture(to file: consuming Descriptor, _ path: String) throws(SystemError) {
        file.setBlocking()
        try captures.start(DaemonCaptures.Request(), to: file, .file) { [unowned self] end in
            guard case .failed(let error) = end else { return }
            let remedy = error.isFullDisk ? "make room" : "check the disk"
            logger.warning(
                """
                the capture of --pcap has ended: \(path): \(error.reason); the network goes on without it; \(remedy), \
                and start another one by vde_vmnet capture
                """)
        }
    }

    /// What the ports are called in a capture.
    func captureInterfaces() -> [PortNumber: CaptureWriter.Interface] {
        var names: [PortNumber: [String]] = [:]
        let now = BootClock.now
        for lease in addressService?.leases ?? [] where lease.expires > now {
            guard let port = addressService?.port(of: lease) else { continue }
            let facts = [lease.name?.description, lease.address.description, lease.hardware.description]
            names[port, default: []].append(facts.compactMap(\.self).joined(separator: " "))
        }
        var interfaces: [PortNumber: CaptureWriter.Interface] = [:]
        for port in control.ports {
            let client = listeners?.client(of: port.number) ?? session?.client(of: port.number)
            var interface = DaemonCaptures.interface(port.number, control)
            interface.description =
                ([client?.description ?? port.name] + (names[port.number]?.sorted() ?? [])).joined(separator: ", ")
            interfaces[port.number] = interface
        }
        return interfaces
    }
}
