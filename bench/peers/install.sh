#!/bin/sh
# Installs what `python -m bench peers` compares Tenure with: the servers from Debian, none of them started, and their
# Python clients into .venv. The bench starts servers of its own, in temporary directories.
set -eu
cd "$(dirname "$0")/../.."

say() {
    printf '==> %s\n' "$*"
}

# Debian's packages start their services when they are installed, unless this program forbids it; one that was there
# before comes back in the end.
policy=/usr/sbin/policy-rc.d
allow_services() {
    rm -f "$policy"
    [ ! -e "$policy.saved" ] || mv "$policy.saved" "$policy"
}

if [ "$(id -u)" != 0 ]; then
    printf 'bench/peers/install.sh: installing Debian packages needs root; run it with sudo\n' >&2
    exit 77
fi
say "Installing the servers"
trap allow_services EXIT
trap 'exit 130' INT TERM
[ ! -e "$policy" ] || mv "$policy" "$policy.saved"
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet --quiet
apt-get install --quiet --quiet --yes --option Dpkg::Use-Pty=0 --no-install-recommends \
    default-jre-headless etcd-server nats-server postgresql redis-server zookeeper

scripts/setup-venv dev
say "Installing their Python clients"
PIP_USER=0 .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
    --constraint constraints.txt --group peers
say "Ready: .venv/bin/python -m bench peers"
