#!/bin/sh
# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
#
# First process of a host: builds its file tree, then becomes sshd or systemd.
# Arguments: DIRECTORY WORKDIR NAME LOWERDIRS BOOT_ID CAPABILITIES INIT
set -eu
directory=$1 workdir=$2 name=$3 lower=$4 boot_id=$5 capabilities=$6 init=$7
root=$directory/root

mount -t overlay overlay -o "lowerdir=$lower,upperdir=$directory/upper,workdir=$workdir,volatile" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
# the bridge has no IPv6 router; waiting for one would only delay connections
echo 1 > proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null || :
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys

mount -t tmpfs -o mode=755,nosuid,size=1m tmpfs dev
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev/
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev,size=128m tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do
  ln -s "fd/${stream%%:*}" "dev/${stream#*:}"
done

mount -t tmpfs -o mode=755,nosuid,nodev,size=128m tmpfs run
mkdir -p run/sshd run/lock run/lab run/before
mount --bind "$directory/control" run/lab

# The kernel has one boot id for the machine; a host has its own, a new one each time.
printf '%s\n' "$boot_id" > run/boot_id
mount --bind run/boot_id proc/sys/kernel/random/boot_id
# What a host writes below /proc must not turn the machine's own knobs.
for knobs in proc/sys proc/irq proc/bus proc/fs; do
  if [ -d "$knobs" ]; then
    mount --rbind "$knobs" "$knobs"
    mount -o remount,bind,ro "$knobs"
  fi
done
if [ "$init" = systemd ]; then
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
  # What would reach the machine's kernel, and what would start by itself in the middle of a test.
  mkdir -p run/systemd/system
  for unit in sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
    dev-mqueue.mount apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer getty.target; do
    ln -s /dev/null "run/systemd/system/$unit"
  done
fi
for file in proc/sysrq-trigger proc/kcore proc/kmsg; do
  if [ -e "$file" ]; then mount --bind /dev/null "$file"; fi
done

hostname "$name"
pivot_root . run/before
cd /
umount -l /run/before
rmdir /run/before
case $init in
  systemd) set -- container=patchlab /lib/systemd/systemd --log-target=journal --show-status=no ;;
  *) set -- /usr/sbin/sshd -D -e ;;
esac
exec setpriv --bounding-set "-all,$capabilities" \
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
