#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: host.sh NAME FOLDER — the first process of a host, in fresh mount and host name namespaces: it gives the
# host what a machine has for itself, and holds the namespaces open while everything else comes and goes.
set -eu
name=$1
folder=$2
hostname "$name"
mount --bind "$folder/hosts" /etc/hosts
mount --bind "$folder/libvirt/etc" /etc/libvirt
mount --bind "$folder/libvirt/lib" /var/lib/libvirt
mount --bind "$folder/libvirt/cache" /var/cache/libvirt
mount --bind "$folder/libvirt/log" /var/log/libvirt
# Programs tell a restart of the host from one of their own by this.
mount --bind "$folder/run/boot_id" /proc/sys/kernel/random/boot_id
# Last: the folder itself may lie under /run.
mount --bind "$folder/run" /run
: >/run/booted
exec sleep infinity
