#!/usr/bin/env bash
# Install the Debian packages that lrufs needs. Does nothing, quickly, when all are there.
#   scripts/setup.sh               to build and test
#   scripts/setup.sh --build-only  to build and run
#   scripts/setup.sh --bench       and the peers of scripts/bench_store.sh
#   scripts/setup.sh --libfuse     what scripts/build-libfuse.sh needs
#   scripts/setup.sh --image       what scripts/build-image.sh and the tests with real containers need
set -euo pipefail

build=(
  g++ cmake ninja-build pkg-config ccache git python3
  libfuse3-dev fuse3 libspdlog-dev libfmt-dev libcli11-dev libxxhash-dev libexpected-dev nlohmann-json3-dev
  libsystemd-dev libarchive-dev prometheus-cpp-dev libmicrohttpd-dev libncurses-dev libseccomp-dev
)
tests=(
  librapidcheck-dev libgtest-dev libgmock-dev
  clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev
  rsync sqlite3 attr acl fio stress-ng libarchive-tools jq tmux curl
  zsh fish man-db groff-base bsdutils
  python3-yaml busybox-static dpkg-dev debootstrap
)
# Any node will do, also one that is not Debian's and has npm in it.
command -v node > /dev/null || tests+=(nodejs)
command -v npm > /dev/null || tests+=(npm)
bench=(liblmdb-dev librocksdb-dev persistent-cache-cpp-dev libboost-dev libleveldb-dev)
image=(buildah podman runc conmon netavark catatonit debootstrap busybox-static)
libfuse=(meson ninja-build gcc pkg-config liburing-dev libnuma-dev)

case "${1:-}" in
  "") wanted=("${build[@]}" "${tests[@]}") ;;
  --build-only) wanted=("${build[@]}") ;;
  --bench) wanted=("${build[@]}" "${tests[@]}" "${bench[@]}") ;;
  --libfuse) wanted=("${libfuse[@]}") ;;
  --image) wanted=("${image[@]}") ;;
  -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "usage: $0 [--build-only | --bench | --libfuse | --image]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
  echo "setup.sh: no Debian system; going on with what is there. Needed: ${wanted[*]}" >&2
  exit 0
fi

# "ii" is an installed package; a virtual or multi-arch name is listed as package:arch, hence the cut.
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "${wanted[@]}" 2> /dev/null | sed -n 's/^.i. *//p' || true)
missing=()
for package in "${wanted[@]}"; do
  if ! grep -qxF -- "$package" <<< "$installed"; then missing+=("$package"); fi
done
if (( ${#missing[@]} == 0 )); then exit 0; fi

root=()
if (( $(id -u) != 0 )); then
  if ! command -v sudo > /dev/null; then
    echo "setup.sh: run as root, or install sudo. Missing: ${missing[*]}" >&2
    exit 1
  fi
  root=(sudo)
fi
echo "setup.sh: installing ${missing[*]}"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 update
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
  install --no-install-recommends "${missing[@]}"
