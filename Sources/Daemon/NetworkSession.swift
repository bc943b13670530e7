// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Lifecycle
import Platform

/// A connection to somebody's VDE network that is kept up for as long as the daemon runs.
package protocol NetworkSession: AnyObject {
    /// What was joined or is served, for the ready line; nil where that is nothing to be named.
    var description: String? { get }
    /// Called whenever the network was joined again after it had gone.
    var onRejoin: () -> Void { get set }
    /// Joins for the first time, and waits for it.
    func join() throws(ExitError)
    /// Leaves: nothing of ours stays behind.
    func leave()
}
