#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: chassis.sh get|set power|boot|reset [VALUE] — what a host's power devices do to it; `kill` ends everything in
# it, its power stays on. The environment names the host: LAB_NAMESPACE, LAB_HOST, LAB_HOST_DIR, LAB_BOOT (the program
# that boots it, given the host's name), and how the device fails: LAB_BMC_MODE, LAB_BMC_DIR.
set -eu

mode=${LAB_BMC_MODE-up}

# Nothing runs in a host that is off: one that is switched off is on until the last process has ended.
power() {
  switch=$(cat "$LAB_HOST_DIR/power" 2>/dev/null || echo 0)
  if [ -n "$(ip netns pids "$LAB_NAMESPACE" 2>/dev/null)" ]; then echo 1; else echo "$switch"; fi
}

# What a device says that lies: what it was last told.
belief() { cat "$LAB_BMC_DIR/belief" 2>/dev/null || power; }

reported() {
  case $mode in
    stuck-on) echo 1 ;;
    lies-off) belief ;;
    *) power ;;
  esac
}

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

write_power() {
  printf '%s\n' "$1" >"$LAB_HOST_DIR/power.bmc"
  mv "$LAB_HOST_DIR/power.bmc" "$LAB_HOST_DIR/power"
}

switch_off() {
  write_power 0
  kill_everything
}

switch_on() {
  [ "$(cat "$LAB_HOST_DIR/power" 2>/dev/null)" = 1 ] && return 0
  write_power 1
  # Booting takes longer than a BMC's answer may.
  setsid $LAB_BOOT "$LAB_HOST" >>"$LAB_HOST_DIR/log/boot.log" 2>&1 </dev/null &
}

# The journal of what the devices were told, for whoever asks afterwards how often.
note() { printf '%s %s\n' "$(date +%s.%N)" "$*" >>"$LAB_HOST_DIR/log/chassis.log"; }

set_power() {
  note "$mode: power $1"
  [ "$mode" = slow ] && sleep 20
  case $mode in
    accepts-only) return 0 ;;
    lies-off) printf '%s\n' "$1" >"$LAB_BMC_DIR/belief" && return 0 ;;
  esac
  if [ "$1" = 0 ]; then switch_off; else switch_on; fi
}

case "$1 ${2-} ${3-}" in
  'get power '*) printf 'power:%s\n' "$(reported)" ;;
  'get boot '*) printf 'boot:default\n' ;;
  'set power 0' | 'set power 1') set_power "$3" ;;
  'set reset '*) set_power 0 && set_power 1 ;;
  'set boot '*) ;;
  'kill '*) note 'watchdog: reset' && kill_everything ;;
  *) printf 'chassis: not known: %s\n' "$*" >&2 && exit 1 ;;
esac
