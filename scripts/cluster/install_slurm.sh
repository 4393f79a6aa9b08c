#!/bin/bash
# Installs what the tests on a real Slurm need, where that is possible: root, and a system with Debian's packages.
# Says what it did; a machine where it cannot be done is no error.
set -u

command -v slurmctld > /dev/null && command -v slurmd > /dev/null && command -v munged > /dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "Slurm is not installed: that needs root and apt-get"
    exit 0
fi
# The packages start their services after installation, which fails in a container; 101 forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge; }
if install > /dev/null 2>&1 || { apt-get update && install; } > /dev/null 2>&1; then
    echo "installed $(slurmctld -V)"
else
    echo "Slurm could not be installed"
fi
