#!/bin/sh
# Looks at the machine that it runs in and says what it sees on a serial port, in rounds: lines of
# JSON with a key and a value in base64, then a line `end`. What is to be asked for stands below.

exec 3<>"$IMGASM_PORT" || exit 1
stty -F "$IMGASM_PORT" raw -echo 2>/dev/null || :
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

readonly LIMIT=65536
readonly COMMAND_SECONDS=60

# say KEY: the value is the input.
say() {
    printf '{"key":"%s","base64":"%s"}\n' "$1" "$(head -c "$LIMIT" | base64 | tr -d '\n')" >&3
}

# look KEY COMMAND…
look() {
    key="$1"
    shift
    "$@" 2>/dev/null | say "$key"
}

ask_service() {
    look "service:$1" systemctl show --property=LoadState,ActiveState,SubState,Result "$2"
}

# ask_command NUMBER COMMAND
ask_command() {
    timeout "$COMMAND_SECONDS" sh -c "$2" </dev/null >/run/imgasm-stdout 2>/run/imgasm-stderr
    echo "$?" | say "command:$1:status"
    say "command:$1:stdout" </run/imgasm-stdout
    say "command:$1:stderr" </run/imgasm-stderr
    rm -f /run/imgasm-stdout /run/imgasm-stderr
}

# ask_http NUMBER PORT PATH
ask_http() {
    if command -v curl >/dev/null; then
        curl --silent --include --noproxy '*' --max-time 5 "http://localhost:$2$3" 2>/dev/null |
            say "http:$1:answer"
    elif command -v wget >/dev/null; then
        wget --quiet --no-proxy --tries=1 --timeout=5 --save-headers --content-on-error \
            --output-document=- "http://localhost:$2$3" 2>/dev/null | say "http:$1:answer"
    elif command -v bash >/dev/null; then
        timeout 5 bash -c 'exec 4<>"/dev/tcp/localhost/$0" &&
            printf "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n" "$1" >&4 && cat <&4' "$2" "$3" \
            2>/dev/null | say "http:$1:answer"
    fi
}

labels() {
    for link in /dev/disk/by-label/*; do
        [ -e "$link" ] || continue
        number=$(stat -L -c '%t %T' "$link")
        printf '%d:%d %s\n' "0x${number% *}" "0x${number#* }" "${link##*/}"
    done
}

# Whether init has no more to do, so that waiting changes nothing.
is_settled() {
    case "$(systemctl is-system-running 2>/dev/null)" in
        running | degraded | maintenance | stopping) return 0 ;;
        *) return 1 ;;
    esac
}

round() {
    look state systemctl is-system-running
    look uptime cat /proc/uptime
    look manager systemctl show \
        --property=KernelTimestampMonotonic,InitRDTimestampMonotonic,UserspaceTimestampMonotonic,FinishTimestampMonotonic,Version
    look multi_user systemctl show --property=ActiveEnterTimestampMonotonic multi-user.target
    look jobs systemctl list-jobs --no-legend --no-pager
    look failed systemctl list-units --state=failed --all --no-legend --no-pager --plain
    systemctl list-units --state=failed --all --no-legend --no-pager --plain 2>/dev/null |
        head -n 20 | while read -r unit _; do
            look "journal:$unit" journalctl --boot --unit "$unit" --lines 20 --no-pager --output cat
        done
    look mountinfo cat /proc/1/mountinfo
    labels | say labels
    look tcp cat /proc/net/tcp
    look tcp6 cat /proc/net/tcp6
    look space df -P -k /
    # Only a TPM 2.0 has a resource manager.
    for tpm in /dev/tpm0 /dev/tpmrm0; do
        [ ! -c "$tpm" ] || echo "$tpm"
    done | say tpm
    if command -v cloud-init >/dev/null; then
        look cloud:version cloud-init --version
        look cloud:status cat /run/cloud-init/status.json
        look cloud:result cat /run/cloud-init/result.json
        if [ -e /run/cloud-init/disabled ]; then
            echo yes | say cloud:disabled
        fi
        look cloud:warnings grep -h -e WARNING -e ERROR /var/log/cloud-init.log
        look cloud:output tail -n 40 /var/log/cloud-init-output.log
    fi
    if command -v visudo >/dev/null; then
        visudo -c 2>&1 | say sudoers
    fi
    expectations
    echo end >&3
}

# is_before SECONDS: whether the machine has run for less. Each look at it takes time, too.
is_before() {
    read -r uptime _ </proc/uptime
    [ "${uptime%%.*}" -lt "$1" ]
}

while ! is_settled && is_before "$IMGASM_PATIENCE"; do
    sleep 1
done
