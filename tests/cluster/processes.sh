# The cluster's processes, each known by a file with its process id and the time of its start: the id alone could be
# somebody else's by now.

runs() { # name
    local id start
    # Nothing was noted of one that died at once.
    read -r id start 2>/dev/null <"$pids/$1" && [ -n "$start" ] && [ "$(start_of "$id")" = "$start" ]
}

# What died with the machine, or was killed by somebody, is started again.
forget_the_dead() {
    local file
    for file in "$pids"/*; do runs "${file##*/}" || rm -f "$file"; done
}

# In ticks since the machine started; see proc(5), after the name, which may hold blanks.
start_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

launch() { # name command…
    local name=$1
    shift
    runs "$name" && return
    setsid nohup "$@" >>"$logs/$name.log" 2>&1 </dev/null &
    echo "$! $(start_of $!)" >"$pids/$name"
}

end() { # name
    local id
    if runs "$1"; then
        read -r id _ <"$pids/$1"
        kill -TERM "$id"
        # The API server waits for the requests that it still has, watches too.
        for _ in $(seq 75); do
            kill -0 "$id" 2>/dev/null || break
            sleep 0.2
        done
        kill -KILL "$id" 2>/dev/null && echo "$1 did not end within 15 s, and was killed"
    fi
    rm -f "$pids/$1"
}

# Until the command succeeds; a process that died meanwhile is said at once, not after the whole time.
await() { # what seconds command…
    local what=$1 tries=$(($2 * 5)) try pid
    shift 2
    for ((try = 1; try <= tries; try++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
        ((try % 10)) && continue
        for pid in "$pids"/*; do
            runs "${pid##*/}" && continue
            say "${pid##*/} has died; the end of its log:"
            tail -n 5 "$logs/${pid##*/}.log"
            exit 1
        done
    done
    say "$what did not come within $((tries / 5)) s; the logs are in $logs"
    exit 1
}
