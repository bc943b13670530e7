# SPDX-License-Identifier: Apache-2.0
# The template of a Homebrew formula for a tap: `packaging/homebrew/formula` fills in the words in capital letters, and
# the release workflow publishes the result. For macOS 26 and later only: on earlier systems the program runs as root,
# and Homebrew's prefix belongs to a user, who could replace it. There, packaging/macos/install.sh installs it.
class VdeVmnet < Formula
  desc "Networking for virtual machines that do not run as root"
  homepage "https://github.com/REPOSITORY"
  url "SOURCE_URL"
  sha256 "SOURCE_SHA256"
  license "Apache-2.0"

  BOTTLES

  depends_on xcode: ["26.0", :build]
  depends_on macos: :tahoe

  def install
    system "swift", "build", "--disable-sandbox", "-c", "release", "--product", "vde_vmnet"
    bin.install ".build/release/vde_vmnet"
    pkgshare.install "packaging/vde_vmnet.entitlements"
    doc.install "README.md", "docs/macos.md"
  end

  # After the bottle is poured, which changes paths in files: a later change breaks the signature. Signed aside and put
  # in place by renaming, because a program that runs must not change.
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

  def caveats
    <<~EOS
      A network for this user starts with: brew services start vde_vmnet
      QEMU joins it with: -netdev vde,id=net0,sock=#{var}/run/vde_vmnet
    EOS
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/vde_vmnet --version")
  end
end
