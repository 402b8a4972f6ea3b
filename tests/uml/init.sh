#!/bin/sh
# The first process of the small machine (see __init__.py): the host's files read-only, groups of version 2, one command.
# SHARED and PYTHON come from the kernel's command line.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/run/tmp HOME=/run LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 INLET_TEST_PATIENCE=5
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t hostfs shared /mnt -o "$SHARED"
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -m 1777 /run/tmp
ip link set lo up
sh /mnt/command >/mnt/output 2>&1
echo $? >/mnt/status
exec "$PYTHON" -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'
