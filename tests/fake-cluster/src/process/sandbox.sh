# Builds a container around itself and becomes its command. Run by `unshare`, in new mount, UTS and IPC namespaces.
#
# No program of the container's root may run with the rights to mount: a volume may cover any folder, and what is in a
# volume was written by steps. So the process that becomes the command gives up its rights first, in the host's root,
# and waits; its root is then changed under it, from outside. Whoever has rights starts no program any more once the
# first volume is mounted: all of them are mounted by one process.
#
# Lines with @ tell how far it got. `mount -i -n` neither calls a program for a file system nor notes what it did.
set -eu
[ "$PPID" = "$1" ] || exit 125
folder=$2 host=$3 memory=$4 mount_points=$5
shift 5

# What this program's own parents left open leads out of the container.
for descriptor in /proc/self/fd/*; do
    descriptor=${descriptor##*/}
    [ -e "/proc/self/fd/$descriptor" ] || continue
    case $descriptor in
    [012]) ;;
    [3-9]) eval "exec $descriptor>&-" ;;
    *)
        if [ -z "${BASH_VERSION:-}" ]; then
            echo "the descriptor $descriptor was inherited, and only bash can close it: install bash"
            exit 125
        fi
        eval "exec $descriptor>&-"
        ;;
    esac
done

echo @layers
cd "$folder"
umask 022
if [ "$memory" = memory ]; then
    mkdir memory
    mount -i -n -t tmpfs -o mode=0755 tmpfs memory
    cp -a layers/. memory/
    mount -i -n --bind memory layers
fi
mount -i -n -a -T outer.fstab

# Where the tool is missing, `hostname` shows the host's.
hostname "$host" 2>/dev/null || :

mkfifo -m 600 go there
exec 3<>go 4<>there
rm go there

(
    verdict=no
    trap 'echo "$verdict" >&3' EXIT
    read -r child <&4
    echo @proc
    nsenter --pid="/proc/$child/ns/pid" -- mount -i -n -t proc -o nosuid,nodev,noexec proc root/proc
    echo @root
    cd root
    pivot_root . sys/host
    # It is process 1 of the new /proc. The tools look into /proc/self, which only processes of that namespace have.
    nsenter --pid=/proc/1/ns/pid -- umount -n -l /sys/host
    eval "$mount_points"
    echo @volumes
    nsenter --pid=/proc/1/ns/pid -- mount -i -n -a -T /sys/fstab
    verdict=go
) &

# Not in the folder: a process whose working folder is the old root's keeps a way to it.
cd /
echo @pid
# It waits for the command and ends as that ends. What it says itself is no output of the command.
# shellcheck disable=SC2016
exec unshare --pid --fork --kill-child=KILL -- \
    /bin/sh -c 'exec 2>&1; exec "$@"' sh setsid setpriv --pdeathsig KILL "$@" -- env -i /bin/sh 2>"$folder/complaints"
