// SPDX-License-Identifier: Apache-2.0
import HostChanges
import Testing

@Suite struct KernelSettingTests {
    @Test func unknownInterfaceHasNoSetting() {
        #expect(KernelSetting.forwarding(on: "no-such-interface").value == nil)
    }
}
