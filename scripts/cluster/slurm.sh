#!/bin/bash
# A private one-machine Slurm cluster with fake GPUs, for tests: no systemd, no cgroups, nothing outside DIR.
#
#   slurm.sh start DIR    brings up munged, slurmctld and slurmd, waits for the idle node, prints "export SLURM_CONF=..."
#   slurm.sh stop DIR     ends its daemons and jobs and forgets its jobs; only the logs stay
#
# "start" on a running cluster starts only the daemons that are missing and keeps the queue.
# Read by the first "start":
#   EXTRA_CONF   lines for slurm.conf; a line here takes the place of the default lines with the same key
#   GPUS         number of fake GPUs, and of cores (2)
#   PORT         slurmctld's port; slurmd has the next one (derived from DIR)
# Needs root and the packages slurmctld, slurmd, slurm-client and munge (Slurm 22.05 is what it was tested with).
set -u

die() { echo "slurm.sh: $*" >&2; exit 1; }

check_machine() {
    [ "$(id -u)" = 0 ] || die "needs root: slurmd starts jobs for other users"
    local tool
    for tool in munged slurmctld slurmd sbatch scontrol; do
        command -v "$tool" >/dev/null || die "$tool not found: install slurmctld, slurmd, slurm-client and munge"
    done
    # The kernel's limit for the path of a socket.
    [ ${#dir} -lt 80 ] || die "the path $dir is too long for a socket: at most 79 characters"
    # slurm.conf has no quotes.
    [[ $dir =~ ^[A-Za-z0-9/._+-]+$ ]] || die "the path $dir has characters that slurm.conf cannot hold"
}

# Ports of their own let two clusters live on one machine; below 32768 they do not meet the kernel's outgoing ones.
derived_port() { echo $((20000 + 2 * ($(cksum <<<"$dir" | cut -d' ' -f1) % 6000))); }

default_conf() {
    local host port gpus memory
    host=$(hostname -s)
    port=${PORT:-$(derived_port)}
    gpus=${GPUS:-2}
    memory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
    # cred_expire: a requeued job waits this long for its second start; 120 by default, the least allowed is 5.
    # sched_interval, batch_sched_delay: the defaults leave jobs waiting up to a minute for nothing.
    # linuxproc: cgroups need not be there. config_overrides: the cores need not be there either.
    cat <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
MailProg=/bin/true
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SchedulerParameters=sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$gpus RealMemory=$memory Gres=gpu:$gpus State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
}

# slurmd insists on device files, so the fake GPUs are copies of /dev/null.
write_conf() {
    local extra=${EXTRA_CONF:-} gpus=${GPUS:-2} i
    mkdir -p "$dir/state" "$dir/spool" || die "cannot write to $dir"
    for ((i = 0; i < gpus; i++)); do
        [ -c "$dir/gpu$i" ] || mknod "$dir/gpu$i" c 1 3 || die "cannot make device files in $dir"
    done
    printf 'AutoDetect=off\nName=gpu Flags=nvidia_gpu_env File=%s/gpu[0-%d]\n' "$dir" $((gpus - 1)) >"$dir/gres.conf"
    # A key given twice would make every Slurm command complain.
    awk -F= 'NR == FNR {extra[tolower($1)] = 1; next} !(tolower($1) in extra)' \
        <(printf '%s\n' "$extra") <(default_conf) >"$dir/slurm.conf.new"
    printf '%s\n' "$extra" >>"$dir/slurm.conf.new"
    mv "$dir/slurm.conf.new" "$dir/slurm.conf"
}

# True if the process in pid file $1 is alive and is a $2: after a crash the number may belong to another process.
# A dead one that nobody has waited for keeps its name, but has no exe.
alive() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] \
        && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] && readlink "/proc/$pid/exe" >/dev/null
}

# A key and a socket of its own, so that the machine's munge is neither needed nor touched. --force: DIR may be private.
start_munged() {
    alive "$dir/munge/pid" munged && return
    mkdir -p "$dir/munge"
    [ -s "$dir/munge/key" ] || (umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
    munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
        --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" 2>>"$dir/munge/errors" \
        || die "munged does not start: see $dir/munge/errors"
}

# The environment is how "stop" finds the processes, so it is set for these two and nowhere else.
start_daemon() {
    alive "$dir/$1.pid" "$1" || SLURM_CONF=$dir/slurm.conf "$1" 2>>"$dir/$1.errors" || die "$1 does not start: see $dir/$1.errors"
}

wait_until_up() {
    local state
    SECONDS=0
    while ((SECONDS < 12)); do
        state=$(SLURM_CONF=$dir/slurm.conf timeout 2 sinfo -h -o %T 2>/dev/null | sort -u)
        # A node with jobs, or drained, is up as well: "start" may have brought back a daemon.
        case $state in idle | mixed | allocated | completing | drained | draining) return ;; esac
        sleep 0.2
    done
    die "the node does not come up (state: ${state:-unknown}): see $dir/slurmctld.log and $dir/slurmd.log"
}

start() {
    check_machine
    [ -f "$dir/slurm.conf" ] || write_conf
    start_munged
    start_daemon slurmctld
    start_daemon slurmd
    wait_until_up
    echo "export SLURM_CONF=$dir/slurm.conf"
}

# Its daemons, and its jobs (slurmd names the node in their environment), also those whose slurmstepd is dead.
# A shell that only exported SLURM_CONF is neither.
processes() {
    local process
    for process in /proc/[0-9]*; do
        case $(cat "$process/comm" 2>/dev/null) in slurmctld | slurmscriptd | slurmd | slurmstepd) set -- daemon ;; *) set -- other ;; esac
        # Processes may be gone by now, so errors say nothing.
        { tr '\0' '\n' <"$process/environ"; } 2>/dev/null | awk -v kind="$1" -v conf="SLURM_CONF=$dir/slurm.conf" \
            '$0 == conf {ours = 1} /^SLURMD_NODENAME=/ {job = 1} END {exit !(ours && (job || kind == "daemon"))}' \
            && basename "$process"
    done
}

stop() {
    local i pids
    [ -d "$dir" ] || die "no folder $dir"
    # More than once: a dying daemon may just have started one more job.
    for ((i = 0; i < 10; i++)); do
        pids=$(processes)
        [ -n "$pids" ] || break
        kill -KILL $pids 2>/dev/null
        sleep 0.1
    done
    [ -z "$pids" ] || die "cannot end these processes:" $pids
    if alive "$dir/munge/pid" munged; then kill "$(cat "$dir/munge/pid")"; fi
    # Without these the next "start" begins with an empty queue.
    rm -rf "$dir/slurm.conf" "$dir/state" "$dir/spool" "$dir"/*.pid "$dir/munge/pid"
}

case ${1:-}:$# in
    start:2 | stop:2) dir=$(realpath -m "$2") && "$1" ;;
    *) die "usage: slurm.sh start|stop DIR" ;;
esac
