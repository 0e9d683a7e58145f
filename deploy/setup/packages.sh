# SPDX-License-Identifier: Apache-2.0
#
# Part of setup.sh: what comes from Debian. Uses its say, quietly and $log.

# The last lines are for the tests: what reads our metrics, one small storage cluster, clients in other
# languages; spin and gcc check the model of the protocol.
wanted_packages='
  libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils qemu-block-extra
  spin gcc libc6-dev openipmi ipmitool iproute2 iptables binutils systemd
  prometheus
  python3-grpcio python3-protobuf protobuf-compiler protobuf-compiler-grpc libprotobuf-dev'

# Only where somebody wants a storage cluster: `npm run lab -- up --ceph`.
ceph_packages='ceph-mon ceph-osd ceph-mgr ceph-mgr-modules-core ceph-common qemu-block-extra'

consul_cache=${LOCKSTEP_CACHE:-/var/cache/lockstep}/consul
policy=/usr/sbin/policy-rc.d
policy_mark='# made by lockstep set-up, for the time of an installation'

apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"; }

# Installed, but not started: this machine's own libvirtd and BMC driver are none of ours.
deny_services() {
  [ -e "$policy" ] && return 0
  printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
  chmod 755 "$policy"
}

allow_services() {
  if grep -qsF "$policy_mark" "$policy"; then rm -f "$policy"; fi
}

install_packages() {
  deny_services
  trap 'allow_services; rm -f "$log"' EXIT
  # The lists may be missing or old: then, and only then, they are renewed.
  # shellcheck disable=SC2086
  if ! apt install --no-install-recommends "$@" >"$log" 2>&1; then
    say 'renewing the package lists'
    quietly apt update
    quietly apt install --no-install-recommends "$@"
  fi
  allow_services
  trap 'rm -f "$log"' EXIT
}

packages() {
  allow_services_left_by_a_crash
  command -v dpkg-query >/dev/null || {
    say 'this is no Debian machine: the lab is not available, the rest is'
    return 0
  }
  missing=
  for package in $wanted_packages; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=none
    [ "$state" = installed ] || missing="$missing $package"
  done
  [ -z "$missing" ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    say "not root: cannot install$missing; the lab and the tests that need them are not available"
    return 0
  fi
  say "installing$missing"
  # shellcheck disable=SC2086
  install_packages $missing || {
    say 'the packages could not be installed (above); is a Debian mirror reachable?'
    return 1
  }
}

allow_services_left_by_a_crash() { [ "$(id -u)" -ne 0 ] || allow_services; }

# Prints the address of the mirror that this machine takes Debian itself from.
debian_mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
    grep -v -e '-security/*$' | head -n 1
}

# Debian 12 has no Consul, the release before it has: that one package is unpacked, not installed.
unpack_consul() (
  mirror=$(debian_mirror)
  [ -n "$mirror" ] || {
    say 'no Debian mirror among the apt sources'
    return 1
  }
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lists/partial" "$work/archives/partial"
  printf 'deb %s bullseye main\n' "$mirror" >"$work/sources.list"
  old_release() {
    apt -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
      -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o APT::Sandbox::User=root "$@"
  }
  quietly old_release update || return 1
  cd "$work"
  quietly old_release download consul || return 1
  # The binary goes into place last and in one step: a set-up that dies leaves either nothing or a whole one.
  dpkg -x ./consul_*.deb "$work/root"
  mkdir -p "$consul_cache/usr/bin"
  cp "$work/root/usr/bin/consul" "$consul_cache/usr/bin/consul.new"
  mv "$consul_cache/usr/bin/consul.new" "$consul_cache/usr/bin/consul"
)

consul_binary() {
  command -v consul >/dev/null && return 0
  [ -x "$consul_cache/usr/bin/consul" ] && return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say 'no Consul on this machine, and not root: the lab and the store tests against Consul are not available'
    return 0
  fi
  if LC_ALL=C apt-cache policy consul | grep -q 'Candidate: [0-9]'; then
    say 'installing consul'
    install_packages consul
  else
    say 'unpacking consul from the Debian release that has it'
    unpack_consul
  fi || {
    say 'Consul could not be fetched (above); put a consul binary on the PATH, or try again'
    return 1
  }
}
