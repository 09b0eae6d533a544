#!/bin/sh
# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
#
# shutdown, reboot, poweroff and halt of a host: leaves a request for the supervisor and ends the host's first process.
if [ ! -d /run/lab ] || [ "$(cat /proc/1/comm)" != sshd ]; then
  echo "not a host of the lab" >&2
  exit 1
fi
mode=poweroff delay=0
if [ "$(basename "$0")" = reboot ]; then mode=reboot; fi
for argument in "$@"; do
  case "$argument" in
    -r | --reboot) mode=reboot ;;
    -c) rm -f /run/lab/pending; exit 0 ;;
    +[0-9]*) delay=$((${argument#+} * 60)) ;;
  esac
done
: > /run/lab/pending
# The session of the caller hangs up as soon as this script returns, and must get its exit status before the host ends.
trap "" HUP
# shellcheck disable=SC2016 # expanded by the inner shell
setsid -f sh -c '
  sleep "$0"; sleep 0.2
  [ -e /run/lab/pending ] || exit 0
  rm -f /run/lab/pending
  echo "$1" > /run/lab/request
  kill -TERM 1' "$delay" "$mode" > /dev/null 2>&1 < /dev/null
