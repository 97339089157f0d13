#!/bin/bash
#
# Makes this instance a member of an ECS cluster. To be run once, as root, when the instance starts.
#
#   ECS_CLUSTER         the cluster to join
#   AWS_DEFAULT_REGION  the region that the logs go to
#   STACK_NAME          with AUTOSCALING_GROUP the beginning of the log groups' names
#   AUTOSCALING_GROUP
#   PROXY_URL           a proxy for HTTP and HTTPS (optional)
#   JOIN_TIMEOUT        seconds to wait for the agent to join (optional, 600)

set -euo pipefail

: "${ECS_CLUSTER:?is the cluster to join}"
: "${AWS_DEFAULT_REGION:?is the region that the logs go to}"
: "${STACK_NAME:?is the name of the stack}"
: "${AUTOSCALING_GROUP:?is the name of the auto scaling group}"
PROXY_URL="${PROXY_URL:-}"
JOIN_TIMEOUT="${JOIN_TIMEOUT:-600}"

readonly METADATA_URL=http://localhost:51678/v1/metadata
readonly POLL_SECONDS=5
readonly METADATA_ADDRESS=169.254.169.254
readonly CREDENTIALS_ADDRESS=169.254.170.2

has_systemd() {
    [ -d /run/systemd/system ]
}

configure_agent() {
    mkdir -p /etc/ecs
    printf 'ECS_CLUSTER=%s\n' "$ECS_CLUSTER" > /etc/ecs/ecs.config
}

configure_proxy() {
    cat >> /etc/ecs/ecs.config <<END
HTTPS_PROXY=$PROXY_URL
NO_PROXY=$METADATA_ADDRESS,$CREDENTIALS_ADDRESS,/var/run/docker.sock
END
    cat > /etc/awslogs/proxy.conf <<END
HTTP_PROXY=$PROXY_URL
HTTPS_PROXY=$PROXY_URL
NO_PROXY=$METADATA_ADDRESS
END
    local line="export HTTPS_PROXY=$PROXY_URL"
    if ! grep -qxF -- "$line" /etc/sysconfig/docker; then
        printf '%s\n' "$line" >> /etc/sysconfig/docker
    fi
    if has_systemd; then
        # systemd reads that file, but takes no line that begins with `export`.
        mkdir -p /etc/systemd/system/docker.service.d
        printf '[Service]\nEnvironment="HTTPS_PROXY=%s"\n' "$PROXY_URL" \
            > /etc/systemd/system/docker.service.d/proxy.conf
        systemctl daemon-reload
    fi
}

# log_section NAME FILE GROUP_SUFFIX [DATETIME_FORMAT [TIME_ZONE]]
log_section() {
    printf '\n[%s]\n' "$1"
    printf 'file = %s\n' "$2"
    printf 'log_group_name = %s/ec2/%s%s\n' "$STACK_NAME" "$AUTOSCALING_GROUP" "$3"
    printf 'log_stream_name = {instance_id}\n'
    if [ -n "${4:-}" ]; then
        printf 'datetime_format = %s\n' "$4"
    fi
    if [ -n "${5:-}" ]; then
        printf 'time_zone = %s\n' "$5"
    fi
}

configure_logs() {
    mkdir -p /etc/awslogs
    cat > /etc/awslogs/awscli.conf <<END
[plugins]
cwlogs = cwlogs
[default]
region = $AWS_DEFAULT_REGION
END
    {
        printf '[general]\nstate_file = /var/lib/awslogs/agent-state\n'
        log_section /var/log/dmesg /var/log/dmesg /var/log/dmesg
        log_section /var/log/messages /var/log/messages /var/log/messages '%b %d %H:%M:%S'
        log_section /var/log/docker /var/log/docker /var/log/docker '%Y-%m-%dT%H:%M:%S.%f'
        log_section /var/log/ecs/ecs-init.log '/var/log/ecs/ecs-init.log*' \
            /var/log/ecs/ecs-init '%Y-%m-%dT%H:%M:%SZ' UTC
        log_section /var/log/ecs/ecs-agent.log '/var/log/ecs/ecs-agent.log*' \
            /var/log/ecs/ecs-agent '%Y-%m-%dT%H:%M:%SZ' UTC
        log_section /var/log/ecs/audit.log '/var/log/ecs/audit.log*' \
            /var/log/ecs/audit.log '%Y-%m-%dT%H:%M:%SZ' UTC
    } > /etc/awslogs/awslogs.conf
}

# The logs' agent comes first, so that Docker's log is caught from its first line.
start_services() {
    if has_systemd; then
        systemctl start awslogsd
        systemctl enable docker
        systemctl start docker
        systemctl start --no-block ecs
    else
        service awslogs start
        chkconfig docker on
        service docker start
        start ecs
    fi
}

joined_cluster() {
    curl --silent --fail --max-time "$POLL_SECONDS" --noproxy localhost "$METADATA_URL" \
        | jq --raw-output .Cluster
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
            return 1
        fi
        printf '.'
        sleep "$POLL_SECONDS"
    done
}

configure_agent
configure_logs
if [ -n "$PROXY_URL" ]; then
    configure_proxy
fi
start_services
wait_for_agent
