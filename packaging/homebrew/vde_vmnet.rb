# SPDX-License-Identifier: Apache-2.0
# A Homebrew formula, for a tap of yours: fill in `url` and `sha256` of the release. macOS 26 and later only: before that the program runs as
# root, and Homebrew's prefix belongs to a user, who could replace it.
class VdeVmnet < Formula
  desc "Networking for virtual machines that do not run as root"
  homepage "https://github.com/OWNER/vde_vmnet"
  url "https://github.com/OWNER/vde_vmnet/archive/refs/tags/v0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "Apache-2.0"

  depends_on xcode: ["26.0", :build]
  depends_on macos: :tahoe

  def install
    system "swift", "build", "--disable-sandbox", "-c", "release", "--product", "vde_vmnet"
    bin.install ".build/release/vde_vmnet"
    pkgshare.install "packaging/vde_vmnet.entitlements"
    doc.install "README.md", "docs/macos.md"
  end

  # Last, and put in place by renaming: whatever changes the file afterwards breaks the signature.
  def post_install
    signed = bin/"vde_vmnet.signed"
    cp bin/"vde_vmnet", signed
    system "codesign", "--force", "--sign", "-", "--entitlements", pkgshare/"vde_vmnet.entitlements", signed
    mv signed, bin/"vde_vmnet"
  end

  service do
    run [opt_bin/"vde_vmnet", "--switch", var/"run/vde_vmnet"]
    keep_alive true
    process_type :interactive
    log_path var/"log/vde_vmnet.log"
    error_log_path var/"log/vde_vmnet.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/vde_vmnet --version")
  end
end
