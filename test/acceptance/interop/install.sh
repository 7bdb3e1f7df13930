#!/bin/sh
# Puts rsyslog and syslog-ng below a directory, out of Debian's packages. They cannot be installed side by side, and as
# services of this machine nobody wants them.
#
#   test/acceptance/interop/install.sh DIR
set -eu
dir=$1
stamp=$dir/.stamp
[ ! -e "$stamp" ] || exit 0
command -v apt-get >/dev/null || { echo "interop: needs Debian or a relative of it" >&2; exit 1; }
packages='rsyslog rsyslog-openssl syslog-ng-core'
# shellcheck disable=SC2086 # it is a list
apt-cache show --no-all-versions $packages >/dev/null 2>&1 || apt-get update -q
# shellcheck disable=SC2086
libraries=$(apt-cache depends --no-recommends --no-suggests $packages | awk '$1 == "Depends:" && $2 ~ /^lib/ && $2 != "libc6" {print $2}' | sort -u)
mkdir -p "$dir"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2086
(cd "$work" && apt-get download -q -o APT::Sandbox::User=root $packages $libraries)
for package in "$work"/*.deb; do
	dpkg-deb -x "$package" "$dir"
done
touch "$stamp"
