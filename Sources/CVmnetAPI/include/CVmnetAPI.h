// SPDX-License-Identifier: Apache-2.0
// Headers only. This one is empty, so that the module of this target has something to show on every system.
