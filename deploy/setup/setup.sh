#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: deploy/setup/setup.sh [--modules-only] COMMAND [ARGUMENT...]
#        deploy/setup/setup.sh --only-ceph
#
# Brings this checkout up to date (Debian packages, node modules, the build) and becomes COMMAND.
# With --modules-only it leaves the machine's packages alone, for what runs on the embedded parts.
# With --only-ceph it installs what the lab's storage cluster needs, and does nothing else.
# Quick when nothing changed. Without root it goes on with what the machine has, and says what is missing.
set -eu
cd "$(dirname "$0")/../.."

packages_wanted=yes
only_ceph=no
case "${1:-}" in
--modules-only)
  packages_wanted=no
  shift
  ;;
--only-ceph)
  only_ceph=yes
  shift
  ;;
esac

say() { printf 'set-up: %s\n' "$*" >&2; }

# Runs a command with its output kept away, unless it fails.
quietly() {
  "$@" >"$log" 2>&1 || {
    status=$?
    cat "$log" >&2
    return "$status"
  }
}

node_modules() {
  wanted=$(cksum <package-lock.json)
  stamp=node_modules/.lockstep-installed
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return 0
  say 'installing node modules (npm ci)'
  quietly npm ci --prefer-offline --no-audit --no-fund || {
    say 'npm ci failed (above). Is the npm registry reachable, and does package-lock.json belong to package.json?'
    return 1
  }
  printf '%s\n' "$wanted" >"$stamp"
}

# Always asked: generate and tsc know best what changed, and answer within a second when nothing did.
build() {
  [ -e deploy/dist ] || say 'building'
  quietly npm run --silent build || {
    say 'the build failed (above)'
    return 1
  }
}

if ! command -v node >/dev/null || ! node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))'; then
  say "Node 20 or later is needed; found: $(node --version 2>/dev/null || echo none)"
  exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM HUP

# One set-up at a time in a checkout. The lock is on a file that is there anyway, so nothing is left over.
exec 9<package.json
flock 9
if [ "$only_ceph" = yes ]; then
  . deploy/setup/packages.sh
  # shellcheck disable=SC2154
  wanted_packages=$ceph_packages
  packages
  exit
fi
if [ "$packages_wanted" = yes ]; then
  . deploy/setup/packages.sh
  packages
  consul_binary
fi
node_modules
build
exec 9<&-
rm -f "$log"
trap - EXIT INT TERM HUP
[ $# -eq 0 ] || exec "$@"
