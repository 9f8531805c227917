#!/bin/sh
# Gather what a container image of lrufs holds, below a folder: the program, the shared libraries that it needs, a static
# busybox (for hooks, init containers and people who look), two users, and of which Debian packages all that is made.
#   deploy/image-root.sh PROGRAM FOLDER
# All files come from the machine that this runs on, which has to be what the program was built on. FOLDER is new or empty.
set -eu

if [ $# -ne 2 ]; then sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
program=$(readlink -f "$1")
root=$2
if [ ! -x "$program" ]; then echo "image-root.sh: no program at $1: build it first" >&2; exit 1; fi
if [ -n "$(ls -A "$root" 2> /dev/null)" ]; then echo "image-root.sh: $root is not empty" >&2; exit 1; fi
busybox=$(command -v busybox || true)
if [ -z "$busybox" ] || ldd "$busybox" > /dev/null 2>&1; then
  echo "image-root.sh: no static busybox here: apt-get install busybox-static" >&2
  exit 1
fi

umask 022
# What Debian has as links: /bin, /lib and so on are in /usr.
mkdir -p "$root/usr/bin" "$root/usr/lib64" "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/run" \
  "$root/var/lib/dpkg/status.d"
ln -s usr/bin "$root/bin"
ln -s usr/bin "$root/sbin"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
ln -s bin "$root/usr/sbin"
mkdir -m 1777 "$root/tmp" "$root/var/tmp"

cp "$program" "$root/usr/bin/lrufs"
strip "$root/usr/bin/lrufs" 2> /dev/null || true  # no binutils: it stays larger
cp "$busybox" "$root/usr/bin/busybox"
for name in $("$busybox" --list); do
  if [ ! -e "$root/usr/bin/$name" ]; then ln -s busybox "$root/usr/bin/$name"; fi
done

# "name => /path (address)", and the loader as "/path (address)". libgcc_s is opened only when a thread ends (pthread_exit),
# which libfuse needs at SIGTERM: without it the daemon would crash there.
libgcc=$(ldconfig -p 2> /dev/null | sed -n "s,^.*libgcc_s.so.1 .*$(uname -m | tr _ -).*=> ,,p" | head -n 1)
if [ -z "$libgcc" ]; then libgcc=$(ls /lib/*-linux-gnu/libgcc_s.so.1 | head -n 1); fi
if ldd "$program" | grep -q 'not found'; then
  echo "image-root.sh: not on this machine: $(ldd "$program" | grep 'not found')" >&2
  exit 1
fi
libraries=$(ldd "$program" | sed -n 's/^\t\(.* => \)\{0,1\}\(\/[^ ]*\) .*/\2/p')
names=
for library in $libraries "$libgcc"; do
  # In the folder where the loader looks: /lib/x86_64-linux-gnu is one of its own.
  case $library in /usr/*) there=$library ;; *) there=/usr$library ;; esac
  if [ -e "$root$there" ]; then continue; fi
  mkdir -p "$root$(dirname "$there")"
  cp -L "$library" "$root$there"
  # dpkg knows the file by one of these.
  target=$(readlink -f "$library")
  names="$names $library $target ${library#/usr} ${target#/usr}"
done

# Scanners read which packages an image is made of here; their licences lie where Debian has them.
if command -v dpkg-query > /dev/null; then
  # shellcheck disable=SC2086  # a list
  packages=$(dpkg-query -S $names 2> /dev/null | sed 's/: .*//' | sort -u || true)
  # shellcheck disable=SC2086
  dpkg-query -s $packages busybox-static | awk -v folder="$root/var/lib/dpkg/status.d" '
    /^Package: / { file = folder "/" $2 }
    /^$/ { next }
    { print > file }'
  for package in $packages busybox-static; do
    name=${package%%:*}
    if [ -e "/usr/share/doc/$name/copyright" ]; then
      mkdir -p "$root/usr/share/doc/$name"
      cp -L "/usr/share/doc/$name/copyright" "$root/usr/share/doc/$name/copyright"
    fi
  done
fi
# Terminals, for lrufs top.
if [ -d /lib/terminfo ]; then cp -rL /lib/terminfo "$root/usr/lib/terminfo"; fi
if [ -e /etc/os-release ]; then cp -L /etc/os-release "$root/etc/os-release"; fi

# root mounts; whoever only reads and writes stores need not be root.
cat > "$root/etc/passwd" <<END
root:x:0:0:root:/:/bin/sh
lrufs:x:65532:65532:lrufs:/:/bin/sh
END
cat > "$root/etc/group" <<END
root:x:0:
lrufs:x:65532:
END
