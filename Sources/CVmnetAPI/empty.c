// SPDX-License-Identifier: Apache-2.0
// This target has headers only; the package manager requires something to compile.
typedef int cvmnetapi_has_headers_only;
