#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: watchdog.sh DEVICE SECONDS CHASSIS — a host's hardware watchdog behind a FIFO, as /dev/watchdog behaves: the
# first byte arms it, each one feeds it, a V disarms it (the magic close); SECONDS after the last one it kills
# everything in the host, by `CHASSIS kill`, whose environment names the host.
set -u
device=$1
seconds=$2
chassis=$3

# Open for both ways: it neither waits for a writer nor ends with one.
exec 3<>"$device"
# A zero byte feeds as well: to bash it is no character, but it may end one.
armed=no
while :; do
  if [ "$armed" = no ]; then
    IFS= read -r -d '' -n 1 -u 3 byte || continue
  elif ! IFS= read -r -d '' -n 1 -t "$seconds" -u 3 byte; then
    armed=no
    sh "$chassis" kill
    continue
  fi
  if [ "$byte" = V ]; then armed=no; else armed=yes; fi
done
