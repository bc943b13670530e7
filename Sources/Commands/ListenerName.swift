// SPDX-License-Identifier: Apache-2.0

/// A way for guests to reach the switch.
enum ListenerName: String, CaseIterable, Sendable {
    case joined = "a switch to join"
    case cable = "a cable (VDE[])"
    case ownSwitch = "--switch"
    case stream = "--stream"
    case dgram = "--dgram"
    case seqpacket = "--seqpacket"
    case vhostUser = "--vhost-user"
    case vhostUserServer = "--vhost-user PATH,client"
    case vhostUserDescriptor = "--vhost-user-fd"
    case descriptor = "--fd"
    case namespace = "--netns"
    case program = "run"
    case activated = "a socket of the service manager"
}
