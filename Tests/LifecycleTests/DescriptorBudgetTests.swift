// SPDX-License-Identifier: Apache-2.0
import Platform
import Testing

@testable import Lifecycle

@Suite struct DescriptorBudgetTests {
    @Test func descriptorsAreDividedHoweverFewThereAre() {
        for total in [16, 24, 48, 256, 1024, 4096, 65_536, 1_048_576] {
            for hasFlows in [false, true] {
                let budget = DescriptorBudget(total: total, hasFlows: hasFlows, ports: 1024)
                #expect(budget.flows + budget.names + budget.clients < total, "\(budget)")
                #expect(
                    budget.names >= 2 && budget.names <= 384 && budget.clients >= 2 && (budget.flows > 0) == hasFlows,
                    "\(budget)")
            }
        }
        #expect(DescriptorBudget(total: 1024, hasFlows: true, ports: 1024).flows == 512)
        #expect(DescriptorBudget(total: 1_048_576, hasFlows: false, ports: 1024).names == 384)
    }

    @Test func tooFewDescriptorsAreRefused() throws {
        try DescriptorBudget(total: 96, hasFlows: true, ports: 1024).check()
        do throws(ExitError) {
            try DescriptorBudget(total: 20, hasFlows: true, ports: 1024).check()
            Issue.record("20 are accepted")
        } catch {
            #expect(error.status == .unavailable)
            #expect(error.description.contains("may open 20 files") && error.description.contains("ulimit -n"))
        }
    }
}
