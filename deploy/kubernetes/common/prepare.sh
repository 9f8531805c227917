# Before the mount: its mount point, and a store if there is none. LRUFS_SIZE, LRUFS_ROOT_OWNER and LRUFS_ROOT_MODE are of
# options.env; /seed/seed.tar (any tar archive, compressed or not) is what a new store begins with, if it is there.
set -eu
store=/var/lib/lrufs/cache.lrufs
# Nobody can write where the mount is missing. It is there already, perhaps with a dead mount on it, when the pod comes again.
mkdir -m 555 /mnt/lrufs/cache 2> /dev/null || true
if [ -e "$store" ]; then
  echo "prepare: the store is there"
  exit 0
fi
# The store gets its name when it is complete: an interrupted start begins again.
rm -f "$store.new"
mkdir -p /tmp/root
chmod "$LRUFS_ROOT_MODE" /tmp/root
chown "$LRUFS_ROOT_OWNER" /tmp/root
if [ -e /seed/seed.tar ]; then lrufs load --size "$LRUFS_SIZE" "$store.new" /seed/seed.tar; fi
# The root folder belongs to whoever uses the cache.
tar -c -C /tmp/root . | lrufs load --size "$LRUFS_SIZE" "$store.new"
sync
mv "$store.new" "$store"
