#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: chassis.sh get|set power|boot|reset [VALUE] — what a host's BMC does to it. The environment names the host:
# LAB_NAMESPACE, LAB_HOST, LAB_HOST_DIR, LAB_BOOT (the program that boots it, given the host's name).
set -eu

power() { cat "$LAB_HOST_DIR/power" 2>/dev/null || echo 0; }

# One round may miss a process that another one starts in this moment.
kill_everything() {
  rounds=0
  while pids=$(ip netns pids "$LAB_NAMESPACE") && [ -n "$pids" ] && [ "$rounds" -lt 100 ]; do
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null || true
    rounds=$((rounds + 1))
    sleep 0.02
  done
  [ -z "$(ip netns pids "$LAB_NAMESPACE")" ]
}

switch_off() {
  printf '0\n' >"$LAB_HOST_DIR/power.bmc"
  mv "$LAB_HOST_DIR/power.bmc" "$LAB_HOST_DIR/power"
  kill_everything
}

switch_on() {
  [ "$(power)" = 1 ] && return 0
  printf '1\n' >"$LAB_HOST_DIR/power.bmc"
  mv "$LAB_HOST_DIR/power.bmc" "$LAB_HOST_DIR/power"
  # Booting takes longer than a BMC's answer may.
  setsid $LAB_BOOT "$LAB_HOST" >>"$LAB_HOST_DIR/log/boot.log" 2>&1 </dev/null &
}

case "$1 $2 ${3-}" in
  'get power '*) printf 'power:%s\n' "$(power)" ;;
  'get boot '*) printf 'boot:default\n' ;;
  'set power 0') switch_off ;;
  'set power 1') switch_on ;;
  'set reset '*) switch_off && switch_on ;;
  'set boot '*) ;;
  *) printf 'chassis: not known: %s\n' "$*" >&2 && exit 1 ;;
esac
