#!/bin/bash
#
# Makes this instance a member of an ECS cluster. To be run once, as root, when the instance starts:
# from user data too, which cloud-init runs while the boot is not done.
#
#   ECS_CLUSTER         the cluster to join
#   STACK_NAME          with AUTOSCALING_GROUP the beginning of the log groups' names
#   AUTOSCALING_GROUP
#   AWS_DEFAULT_REGION  the region that the logs go to (optional, the instance's own)
#   PROXY_URL           a proxy for HTTP and HTTPS (optional)
#   START_TIMEOUT       seconds that a service may take to start (optional, 120)
#   JOIN_TIMEOUT        seconds to wait for the agent to join (optional, 600)

set -euo pipefail

: "${ECS_CLUSTER:?is the cluster to join}"
: "${STACK_NAME:?is the name of the stack}"
: "${AUTOSCALING_GROUP:?is the name of the auto scaling group}"
AWS_DEFAULT_REGION="${AWS_DEFAULT_REGION:-}"
PROXY_URL="${PROXY_URL:-}"
START_TIMEOUT="${START_TIMEOUT:-120}"
JOIN_TIMEOUT="${JOIN_TIMEOUT:-600}"

readonly AGENT_URL=http://localhost:51678/v1/metadata
readonly POLL_SECONDS=5
readonly METADATA_ADDRESS=169.254.169.254
readonly CREDENTIALS_ADDRESS=169.254.170.2
readonly NO_PROXY_LIST="$METADATA_ADDRESS,$CREDENTIALS_ADDRESS,/var/run/docker.sock"
readonly UNITS=/etc/systemd/system
readonly CLOUDWATCH=/opt/aws/amazon-cloudwatch-agent

say() {
    printf 'firstrun: %s\n' "$*"
}

fail() {
    say "$*" >&2
    exit 1
}

has_unit() {
    systemctl cat "$1" > /dev/null 2>&1
}

# metadata PATH: what the instance metadata service has there.
metadata() {
    local token
    token="$(curl --silent --show-error --fail --max-time 5 --retry 5 --noproxy '*' \
        --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
        "http://$METADATA_ADDRESS/latest/api/token")"
    curl --silent --show-error --fail --max-time 5 --retry 5 --noproxy '*' \
        --header "X-aws-ec2-metadata-token: $token" \
        "http://$METADATA_ADDRESS/latest/meta-data/$1"
}

# A unit that waits for cloud-init to end cannot be started by a script that cloud-init waits for.
# A unit in /etc takes the place of the package's own.
lift_order() {
    local unit="$1" path
    path="$(systemctl show --property=FragmentPath "$unit")"
    path="${path#FragmentPath=}"
    if [ -n "$path" ] && grep -Eq '^After=.*cloud-(final\.service|init\.target)' "$path"; then
        say "$unit no longer waits for cloud-init"
        sed -E '/^After=/ { s/[ \t]*cloud-(final\.service|init\.target)//g; /^After=[ \t]*$/d; }' \
            "$path" > "$UNITS/$unit.new"
        mv "$UNITS/$unit.new" "$UNITS/$unit"
    fi
}

configure_agent() {
    mkdir -p /etc/ecs
    printf 'ECS_CLUSTER=%s\n' "$ECS_CLUSTER" > /etc/ecs/ecs.config
}

# unit_proxy UNIT NO_PROXY: a percent sign means something in a unit.
unit_proxy() {
    mkdir -p "$UNITS/$1.d"
    cat > "$UNITS/$1.d/http-proxy.conf" <<END
[Service]
Environment="HTTP_PROXY=${PROXY_URL//%/%%}"
Environment="HTTPS_PROXY=${PROXY_URL//%/%%}"
Environment="NO_PROXY=$2"
END
}

configure_proxy() {
    cat >> /etc/ecs/ecs.config <<END
HTTPS_PROXY=$PROXY_URL
NO_PROXY=$NO_PROXY_LIST
END
    unit_proxy docker.service "$METADATA_ADDRESS,$CREDENTIALS_ADDRESS"
    unit_proxy containerd.service "$METADATA_ADDRESS,$CREDENTIALS_ADDRESS"
    unit_proxy ecs.service "$NO_PROXY_LIST"
    case "$LOG_AGENT" in
        awslogs*)
            cat > /etc/awslogs/proxy.conf <<END
HTTP_PROXY=$PROXY_URL
HTTPS_PROXY=$PROXY_URL
NO_PROXY=$METADATA_ADDRESS
END
            ;;
        amazon-cloudwatch-agent)
            cat > "$CLOUDWATCH/etc/common-config.toml" <<END
[proxy]
    http_proxy = "$PROXY_URL"
    https_proxy = "$PROXY_URL"
    no_proxy = "$METADATA_ADDRESS"
END
            ;;
    esac
}

# Which agent the image has for its logs.
find_log_agent() {
    local name
    for name in awslogsd awslogs amazon-cloudwatch-agent; do
        if has_unit "$name.service"; then
            printf '%s' "$name"
            return
        fi
    done
}

# Without syslog nothing writes the files that the agents read: the journal becomes files.
configure_journal() {
    if has_unit rsyslog.service || has_unit syslog.service; then
        return
    fi
    cat > "$UNITS/journal-files.service" <<'END'
[Unit]
Description=Writes the journal to files for the agent of the logs
After=systemd-journald.service

[Service]
ExecStart=/bin/bash -c 'journalctl --follow --lines=all --boot --unit=docker.service \
    --output=short-iso >> /var/log/docker & \
    exec journalctl --follow --lines=all --boot --output=short >> /var/log/messages'
Restart=on-failure

[Install]
WantedBy=multi-user.target
END
    if [ -d /etc/logrotate.d ]; then
        cat > /etc/logrotate.d/journal-files <<'END'
/var/log/messages /var/log/docker {
    size 64M
    rotate 1
    copytruncate
    missingok
}
END
    fi
    systemctl daemon-reload
    systemctl enable --quiet journal-files.service
    timeout "$START_TIMEOUT" systemctl start journal-files.service
}

# Each log: its file, the end of its group's name, and the form and zone of its times.
logs() {
    printf '%s|%s|%s|%s|%s\n' \
        /var/log/dmesg /var/log/dmesg /var/log/dmesg '' '' \
        /var/log/messages /var/log/messages /var/log/messages '%b %d %H:%M:%S' '' \
        /var/log/docker /var/log/docker /var/log/docker '%Y-%m-%dT%H:%M:%S.%f' '' \
        /var/log/ecs/ecs-init.log '/var/log/ecs/ecs-init.log*' /var/log/ecs/ecs-init \
        '%Y-%m-%dT%H:%M:%SZ' UTC \
        /var/log/ecs/ecs-agent.log '/var/log/ecs/ecs-agent.log*' /var/log/ecs/ecs-agent \
        '%Y-%m-%dT%H:%M:%SZ' UTC \
        /var/log/ecs/audit.log '/var/log/ecs/audit.log*' /var/log/ecs/audit.log \
        '%Y-%m-%dT%H:%M:%SZ' UTC
}

configure_awslogs() {
    local name file group format zone
    mkdir -p /etc/awslogs
    cat > /etc/awslogs/awscli.conf <<END
[plugins]
cwlogs = cwlogs
[default]
region = $AWS_DEFAULT_REGION
END
    {
        printf '[general]\nstate_file = /var/lib/awslogs/agent-state\n'
        logs | while IFS='|' read -r name file group format zone; do
            printf '\n[%s]\nfile = %s\n' "$name" "$file"
            printf 'log_group_name = %s/ec2/%s%s\n' "$STACK_NAME" "$AUTOSCALING_GROUP" "$group"
            printf 'log_stream_name = {instance_id}\n'
            [ -z "$format" ] || printf 'datetime_format = %s\n' "$format"
            [ -z "$zone" ] || printf 'time_zone = %s\n' "$zone"
        done
    } > /etc/awslogs/awslogs.conf
}

# json TEXT: the text as JSON has it.
json() {
    local text="${1//\\/\\\\}"
    printf '"%s"' "${text//\"/\\\"}"
}

configure_cloudwatch() {
    local name file group format zone separator=''
    mkdir -p "$CLOUDWATCH/etc"
    {
        printf '{\n  "agent": { "region": %s },\n' "$(json "$AWS_DEFAULT_REGION")"
        printf '  "logs": { "logs_collected": { "files": { "collect_list": ['
        while IFS='|' read -r name file group format zone; do
            printf '%s\n    { "file_path": %s,' "$separator" "$(json "$file")"
            printf ' "log_group_name": %s,' "$(json "$STACK_NAME/ec2/$AUTOSCALING_GROUP$group")"
            printf ' "log_stream_name": "{instance_id}"'
            [ -z "$format" ] || printf ', "timestamp_format": %s' "$(json "$format")"
            [ -z "$zone" ] || printf ', "timezone": %s' "$(json "$zone")"
            printf ' }'
            separator=,
        done < <(logs)
        printf '\n  ] } } }\n}\n'
    } > "$CLOUDWATCH/etc/amazon-cloudwatch-agent.json"
}

configure_logs() {
    case "$LOG_AGENT" in
        awslogs*) configure_awslogs ;;
        amazon-cloudwatch-agent) configure_cloudwatch ;;
        *) say "the image has no agent for its logs, which stay on this instance" >&2 ;;
    esac
}

start() {
    timeout "$START_TIMEOUT" systemctl start "$1" \
        || fail "$1 has not started within $START_TIMEOUT seconds"
}

# The logs' agent comes first, so that Docker's log is caught from its first line.
start_services() {
    lift_order docker.service
    lift_order ecs.service
    systemctl daemon-reload
    if [ -n "$LOG_AGENT" ]; then
        systemctl enable --quiet "$LOG_AGENT.service"
        start "$LOG_AGENT.service"
        configure_journal
    fi
    systemctl enable --quiet docker.service ecs.service
    start docker.service
    # Starting it may take longer than a service may: that is what is waited for below.
    systemctl start --no-block ecs.service
}

joined_cluster() {
    curl --silent --fail --max-time "$POLL_SECONDS" --noproxy localhost "$AGENT_URL" \
        | sed -n 's/.*"Cluster" *: *"\([^"]*\)".*/\1/p'
}

wait_for_agent() {
    local deadline=$((SECONDS + JOIN_TIMEOUT))
    local cluster
    while true; do
        # The agent does not answer before it runs.
        cluster="$(joined_cluster 2> /dev/null || true)"
        if [ "$cluster" = "$ECS_CLUSTER" ]; then
            printf '\nThe ECS agent has joined the cluster %s.\n' "$ECS_CLUSTER"
            return
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            printf '\nThe ECS agent has not joined the cluster %s within %s seconds.\n' \
                "$ECS_CLUSTER" "$JOIN_TIMEOUT" >&2
            systemctl status --no-pager --lines=20 ecs.service >&2 || true
            systemctl list-jobs --no-pager >&2 || true
            return 1
        fi
        printf '.'
        sleep "$POLL_SECONDS"
    done
}

if [ -z "$AWS_DEFAULT_REGION" ]; then
    AWS_DEFAULT_REGION="$(metadata placement/region)"
fi
LOG_AGENT="$(find_log_agent)"
readonly LOG_AGENT AWS_DEFAULT_REGION
configure_agent
configure_logs
if [ -n "$PROXY_URL" ]; then
    configure_proxy
fi
start_services
wait_for_agent
