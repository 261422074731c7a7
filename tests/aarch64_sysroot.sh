#!/usr/bin/env bash
# Lays out a root folder of Debian's arm64 libraries for cross-compiling and for qemu: packages are downloaded with an
# apt state of their own and only unpacked, so that the system stays as it is and root is not needed.
#
#   tests/aarch64_sysroot.sh FOLDER
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
apt=$folder/apt
mkdir -p "$apt/lists/partial" "$apt/archives/partial"
: >"$apt/status"
options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User= -o Debug::NoLocking=1
    -o "Dir::State::Lists=$apt/lists" -o "Dir::State::status=$apt/status"
    -o "Dir::Cache=$apt" -o "Dir::Cache::Archives=$apt/archives")
apt-get "${options[@]}" update
apt-get "${options[@]}" --download-only --yes --no-install-recommends install \
    libsodium-dev libjansson-dev libsqlite3-dev libpcre2-dev libutf8proc-dev libedit-dev liblua5.4-dev
for package in "$apt"/archives/*.deb; do dpkg -x "$package" "$folder"; done
rm -rf "$apt"
# Absolute links mean the root they were made for.
find "$folder" -type l -lname '/*' | while read -r link; do ln -sfn "$folder$(readlink "$link")" "$link"; done
