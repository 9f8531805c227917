#!/usr/bin/env python3
"""Reads a store of lrufs from its bytes alone: an independent reader, written from docs/format.md with nothing but
Python's standard library, so that the document is shown to be enough.

    read_store.py [--live] [--no-space] STORE

Prints a line for each name, and one for each xattr, sorted by path; columns are separated by tabs:

    MODE  LINKS  UID  GID  DEVICE  SIZE  MTIME  INODE  SHA-256 of the content  PATH
    @     LENGTH  SHA-256 of the value  NAME  PATH

MODE is octal, with the type. A directory has "-" for its content, a symlink's content is its target. Bytes that are not
printable ASCII, blanks and backslashes are written \\xNN. What was read, and the counts, go to stderr.

The state is that of the newest durable meta: the last checkpoint. With --live it is the newest live meta that continues it
(what SIGKILL leaves), if there is one; whether the page cache can be trusted (boot id, device, inode) is not asked here.

Every checksum on the way is verified: metas, tree pages, free-space directory, map and log. Also compared: the births and
places of pages, the order of keys, entries against name hashes and inodes, link counts, the LRU order, the counters, and
(without --no-space) the free-space map against all pages that were reached. Content of files has no checksum.
Exit status: 0, or 1 with a message at the first thing that does not agree with docs/format.md, 2 for wrong use.
"""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import collections
import hashlib
import struct

PAGE = 4096
META_BYTES = 512
MAGIC = b"lrufs\r\n\x1a"
VERSION = 3
MAX_IMAGES = 32
HEADER_PAGES = 16
ROOT = 1
M64 = (1 << 64) - 1

KIND_INODE, KIND_LINK, KIND_XATTR, KIND_INLINE, KIND_EXTENT, KIND_ENTRY, KIND_ORPHAN = 0, 1, 2, 3, 4, 5, 0x80
FLAG_LISTED, FLAG_ORPHAN, FLAG_PAGED, FLAG_PINNED, FLAG_TTL, FLAG_PARKED = 1, 2, 4, 8, 16, 32
PARKED_PLACES = 1 << 63
MAX_TTL = 36_500 * 86_400 * 1000
S_IFMT, S_IFDIR, S_IFREG, S_IFLNK = 0o170000, 0o040000, 0o100000, 0o120000


class Damage(Exception):
    """Something is not as docs/format.md says."""


def need(condition, message):
    if not condition:
        raise Damage(message)


# --- XXH3-64 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) ------------------------------------------

P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
MX1, MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def swap64(value):
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def rotl(value, bits):
    return ((value << bits) | (value >> (64 - bits))) & M64


def fold(a, b):
    product = a * b
    return (product & M64) ^ (product >> 64)


def xxh64_avalanche(h):
    h = ((h ^ (h >> 33)) * P64_2) & M64
    h = ((h ^ (h >> 29)) * P64_3) & M64
    return h ^ (h >> 32)


def xxh3_avalanche(h):
    h = ((h ^ (h >> 37)) * MX1) & M64
    return h ^ (h >> 32)


def mix16(data, at, secret_at, seed):
    return fold(u64(data, at) ^ ((u64(SECRET, secret_at) + seed) & M64),
                u64(data, at + 8) ^ ((u64(SECRET, secret_at + 8) - seed) & M64))


def xxh3_short(data, seed):  # 0 to 16 bytes
    n = len(data)
    if n > 8:
        low = u64(data, 0) ^ (((u64(SECRET, 24) ^ u64(SECRET, 32)) + seed) & M64)
        high = u64(data, n - 8) ^ (((u64(SECRET, 40) ^ u64(SECRET, 48)) - seed) & M64)
        return xxh3_avalanche((n + swap64(low) + high + fold(low, high)) & M64)
    if n >= 4:
        seed ^= int.from_bytes((seed & 0xFFFFFFFF).to_bytes(4, "little"), "big") << 32
        both = (u32(data, n - 4) + (u32(data, 0) << 32)) & M64
        h = both ^ (((u64(SECRET, 8) ^ u64(SECRET, 16)) - seed) & M64)
        h = ((h ^ rotl(h, 49) ^ rotl(h, 24)) * MX2) & M64
        h = ((h ^ ((h >> 35) + n)) * MX2) & M64
        return h ^ (h >> 28)
    if n > 0:
        mixed = (data[0] << 16) | (data[n >> 1] << 24) | data[n - 1] | (n << 8)
        return xxh64_avalanche(mixed ^ (((u32(SECRET, 0) ^ u32(SECRET, 4)) + seed) & M64))
    return xxh64_avalanche(seed ^ u64(SECRET, 56) ^ u64(SECRET, 64))


def xxh3_middle(data, seed):  # 17 to 240 bytes
    n = len(data)
    h = n * P64_1
    if n <= 128:
        for i in reversed(range((n - 1) // 32 + 1)):
            h += mix16(data, 16 * i, 32 * i, seed) + mix16(data, n - 16 * (i + 1), 32 * i + 16, seed)
        return xxh3_avalanche(h & M64)
    for i in range(8):
        h += mix16(data, 16 * i, 16 * i, seed)
    h = xxh3_avalanche(h & M64)
    for i in range(8, n // 16):
        h += mix16(data, 16 * i, 16 * (i - 8) + 3, seed)
    return xxh3_avalanche((h + mix16(data, n - 16, 136 - 17, seed)) & M64)


def xxh3_accumulate(acc, lanes, secret):
    for i in range(8):
        key = lanes[i] ^ secret[i]
        acc[i ^ 1] += lanes[i]
        acc[i] = (acc[i] + (key & 0xFFFFFFFF) * (key >> 32)) & M64


def xxh3_long(data, seed):  # more than 240 bytes
    secret = SECRET
    if seed != 0:
        secret = b"".join(struct.pack("<QQ", (u64(SECRET, at) + seed) & M64, (u64(SECRET, at + 8) - seed) & M64)
                          for at in range(0, 192, 16))
    window = [struct.unpack_from("<8Q", secret, at) for at in range(0, 192 - 64 + 1, 8)]  # 17: the last one scrambles
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    n = len(data)
    for stripe in range((n - 1) // 64):
        xxh3_accumulate(acc, struct.unpack_from("<8Q", data, stripe * 64), window[stripe % 16])
        if stripe % 16 == 15:
            for i in range(8):
                value = acc[i] & M64
                acc[i] = ((value ^ (value >> 47) ^ window[16][i]) * P32_1) & M64
    xxh3_accumulate(acc, struct.unpack_from("<8Q", data, n - 64), struct.unpack_from("<8Q", secret, 192 - 64 - 7))
    h = n * P64_1
    for i in range(4):
        h += fold((acc[2 * i] & M64) ^ u64(secret, 11 + 16 * i), (acc[2 * i + 1] & M64) ^ u64(secret, 19 + 16 * i))
    return xxh3_avalanche(h & M64)


def xxh3(data, seed=0):
    data = bytes(data)
    if len(data) <= 16:
        return xxh3_short(data, seed)
    return xxh3_middle(data, seed) if len(data) <= 240 else xxh3_long(data, seed)


# --- varints -----------------------------------------------------------------------------------------------------------

class Varints:
    """LEB128, least significant group first; zigzag for signed numbers."""

    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def byte(self):
        need(self.at < len(self.data), f"{self.what} ends early")
        self.at += 1
        return self.data[self.at - 1]

    def next(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value & M64
            need(shift < 70, f"{self.what} has an endless number")

    def signed(self):
        value = self.next()
        return (value >> 1) ^ -(value & 1)

    def rest(self):
        return self.data[self.at:]


# --- metas -------------------------------------------------------------------------------------------------------------

class Meta:
    FIELDS = struct.Struct("<8sII16sQQQQ8QQQQQ6Q16sQQQQQQ")

    def __init__(self, data):
        (self.magic, self.version, self.page_size, self.uuid, self.name_seed, self.bound, self.txn, self.session,
         *numbers, self.boot_id, self.device, self.inode, self.durable_txn, self.durable_session, self.flags,
         self.grown_pages) = self.FIELDS.unpack_from(data)
        self.roots = {name: (numbers[2 * i], numbers[2 * i + 1])
                      for i, name in enumerate(("names", "recency", "expiry", "spare"))}
        self.images = {}  # page: where its content is
        self.directory, self.log, self.log_end_segment, self.log_end_offset = numbers[8:12]
        (self.next_seq, self.files, self.directories, self.orphans, self.content_bytes, self.scan_mark) = numbers[12:18]


def read_meta(data):
    """A Meta, or None if there is no whole one."""
    if data[:8] != MAGIC or u64(data, 504) != xxh3(data[:504]):
        return None
    meta = Meta(data)
    need(meta.version <= VERSION, f"written in format {meta.version}, this reader knows {VERSION}")
    used = {1: 280, 2: 304}.get(meta.version, 344)
    need(meta.page_size == PAGE and data[used:504] == bytes(504 - used), "a meta with fields that this format does not have")
    (meta.pinned, meta.pinned_directories, meta.pinned_bytes, meta.parked,
     meta.unpark_from) = struct.unpack_from("<5Q", data, 304)
    meta.new_pages_sum, images, images_checksum = struct.unpack_from("<QQQ", data, 280)
    need(images <= MAX_IMAGES, "a meta with too many images")
    if images:
        pairs = data[META_BYTES:META_BYTES + 16 * images]
        need(images_checksum == xxh3(pairs), "the images of a meta fail their checksum")
        for i in range(images):
            image, target = struct.unpack_from("<QQ", pairs, 16 * i)
            meta.images[target] = image
    return meta


def choose_meta(file, live):
    metas = []
    for page in range(4):
        file.seek(page * PAGE)
        metas.append(read_meta(file.read(PAGE)))
    durables = [meta for meta in metas[:2] if meta]
    need(durables, "no whole durable meta: not a store, or damaged")
    durable = max(durables, key=lambda meta: (meta.txn, meta.flags & 1))
    if live:
        continuing = [meta for meta in metas[2:] if meta and meta.uuid == durable.uuid and meta.txn > durable.txn and
                      ((meta.durable_txn, meta.durable_session) == (durable.txn, durable.session) or
                       meta.session == durable.session)]
        if continuing:
            return max(continuing, key=lambda meta: meta.txn), "live"
    return durable, "durable"


# --- tree pages --------------------------------------------------------------------------------------------------------

class Store:
    def __init__(self, path, live):
        self.file = open(path, "rb")
        self.meta, self.state = choose_meta(self.file, live)
        self.pages = self.file.seek(0, 2) // PAGE
        self.reached = set()
        self.tree_pages = 0
        self.new_pages_sum = 0  # of the checksums of the tree pages born after the durable meta

    def reach(self, first, count, what):
        need(HEADER_PAGES <= first and first + count <= self.pages, f"{what} lies outside of the file, at page {first}")
        for page in range(first, first + count):
            need(page not in self.reached, f"{what}: page {page} is in use twice")
            self.reached.add(page)

    def read(self, first, count=1):
        self.file.seek(first * PAGE)
        return self.file.read(count * PAGE)

    def tree(self, root):
        """All (key, value) of a tree, in order."""
        number, birth = self.meta.roots[root]
        if number != 0:
            yield from self._subtree(number, birth, None, b"", None)

    def _subtree(self, number, birth, level, low, high):
        what = f"tree page {number}"
        self.reach(number, 1, what)
        self.tree_pages += 1
        data = self.read(self.meta.images.get(number, number))
        checksum, page_no, its_birth, kind, its_level, count, heap, garbage = struct.unpack_from("<QQQBBHHH", data)
        need(page_no == number, f"{what} says to be page {page_no}")
        need(its_birth == birth, f"{what} was born in {its_birth}, its parent says {birth}")
        slots_end = 32 + 2 * count
        need(slots_end <= heap <= PAGE, f"{what} has a wrong header")
        need(checksum == xxh3(data[heap:], seed=xxh3(data[8:slots_end])), f"{what} fails its checksum")
        if birth > self.meta.durable_txn:
            self.new_pages_sum = (self.new_pages_sum + checksum) & M64
        need(kind == (2 if its_level == 0 else 1) and level in (None, its_level), f"{what} is of a wrong kind or level")
        cells, used = [], 0
        for slot in struct.unpack_from(f"<{count}H", data, 32):
            need(heap <= slot <= PAGE - 4, f"{what} has a wrong slot")
            if kind == 2:
                key_bytes, value_bytes = struct.unpack_from("<HH", data, slot)
                key_at, size = slot + 4, 4 + key_bytes + value_bytes
                cells.append((data[key_at:key_at + key_bytes], data[key_at + key_bytes:slot + size]))
            else:
                key_bytes = struct.unpack_from("<H", data, slot)[0]
                key_at, size = slot + 2, 2 + key_bytes + 16
                need(slot + size <= PAGE, f"{what} has a cell that leaves it")
                cells.append((data[key_at:key_at + key_bytes], struct.unpack_from("<QQ", data, key_at + key_bytes)))
            need(slot + size <= PAGE, f"{what} has a cell that leaves it")
            used += size
        need(used + garbage == PAGE - heap, f"{what}: cells and garbage do not fill it")
        keys = [key for key, _ in cells]
        need(all(a < b for a, b in zip(keys, keys[1:])), f"{what}: keys out of order")
        if kind == 2:
            need(not keys or (low <= keys[0] and (high is None or keys[-1] < high)), f"{what}: a key outside of its range")
            yield from cells
            return
        need(cells and keys[0] == b"", f"{what}: the first key of a branch is not empty")
        for i, (key, (child, child_birth)) in enumerate(cells):
            yield from self._subtree(child, child_birth, its_level - 1, key if i else low,
                                     keys[i + 1] if i + 1 < len(keys) else high)

    # --- free space ----------------------------------------------------------------------------------------------------

    def used_pages(self):
        """The set of pages that the condensed map and the log say to be in use; theirs are reached on the way."""
        used = set(range(HEADER_PAGES))
        chunks, page = [], self.meta.directory
        while page != 0:
            self.reach(page, 1, "a directory page of the free-space map")
            data = self.read(page)
            checksum, page_no, next_page, first_chunk, count = struct.unpack_from("<QQQII", data)
            need(checksum == xxh3(data[8:]) and page_no == page and first_chunk == len(chunks) and count <= 254,
                 f"the free-space directory is damaged at page {page}")
            chunks += struct.iter_unpack("<QQ", data[32:32 + 16 * count])
            page = next_page
        if chunks:
            used = set()
        for number, (page, checksum) in enumerate(chunks):
            if page == 0:
                continue
            self.reach(page, 1, "a page of the free-space map")
            data = self.read(page)
            need(checksum == xxh3(data), f"the free-space map is damaged at page {page}")
            bits = int.from_bytes(data, "little")
            base = number * PAGE * 8
            used.update(base + bit for bit in range(bits.bit_length()) if bits >> bit & 1)
        segment, end = self.meta.log, (self.meta.log_end_segment, self.meta.log_end_offset)
        while segment != 0:
            what = f"the free-space log is damaged, segment {segment}"
            header = self.read(segment)[:32]
            magic, first, pages, checksum = struct.unpack("<8sQQQ", header)
            need(magic == b"rufs-log" and first == segment and checksum == xxh3(header[:24]), what)
            self.reach(segment, pages, "the free-space log")
            data, at = self.read(segment, pages), 32
            following = 0
            while (segment, at) != end:
                need(at + 24 <= len(data), what)
                checksum, txn, entries, kind = struct.unpack_from("<QQII", data, at)
                need(at + 24 + 8 * entries <= len(data) and txn <= self.meta.txn, what)
                need(checksum == xxh3(data[at + 8:at + 24 + 8 * entries]), what)
                numbers = struct.unpack_from(f"<{entries}Q", data, at + 24)
                if kind == 2:  # a jump
                    need(entries == 1, what)
                    following = numbers[0]
                    break
                need(kind == 1, what)
                for entry in numbers:
                    run = range(entry >> 20, (entry >> 20) + (entry >> 1 & 0x7FFFF) + 1)
                    if entry & 1:
                        used.difference_update(run)
                    else:
                        used.update(run)
                at += 24 + 8 * entries
            segment = following
        return used


# --- objects -----------------------------------------------------------------------------------------------------------

class Inode:
    def __init__(self, number, data):
        fields = Varints(data, f"inode {number}")
        self.number = number
        (self.mode, self.flags, self.uid, self.gid, self.links, self.rdev, self.size, self.pages, self.entries,
         self.touched, self.parent, self.cookie) = (fields.next() for _ in range(12))
        self.mtime = (fields.signed(), fields.next())
        differ = fields.byte()
        self.ctime, self.atime, self.btime = (
            (self.mtime[0] + fields.signed(), fields.next()) if differ & bit else self.mtime for bit in (1, 2, 4))
        self.ttl = self.expires = self.due = 0
        if self.flags & FLAG_TTL:
            self.ttl = fields.next()
            need(0 < self.ttl <= MAX_TTL, f"inode {number}: a time to live that cannot be")
            if self.type() != S_IFDIR:
                self.expires, ahead = fields.next(), fields.next()
                self.due = self.expires - (ahead - 1) if ahead else 0
        need(fields.rest() == b"", f"inode {number} has bytes behind its end")

    def type(self):
        return self.mode & S_IFMT


class Object:
    """All records of one inode."""

    def __init__(self):
        self.inode, self.links, self.xattrs, self.inline, self.extents, self.entries = None, [], {}, None, [], []


def read_objects(store):
    objects, orphans = collections.defaultdict(Object), set()
    for key, value in store.tree("names"):
        need(len(key) >= 9, "a key is too short")
        owner, kind, suffix = int.from_bytes(key[:8], "big"), key[8], key[9:]
        if owner == 0:
            need(kind == KIND_ORPHAN and len(suffix) == 8, "a record of the store of an unknown kind")
            orphans.add(int.from_bytes(suffix, "big"))
            continue
        each = objects[owner]
        if kind == KIND_INODE:
            each.inode = Inode(owner, value)
        elif kind == KIND_LINK:
            each.links.append((int.from_bytes(suffix[:8], "big"), int.from_bytes(suffix[8:], "big")))
        elif kind == KIND_XATTR:
            each.xattrs[suffix] = read_xattr(store, owner, value)
        elif kind == KIND_INLINE:
            each.inline = value
        elif kind == KIND_EXTENT:
            fields = Varints(value, f"an extent of inode {owner}")
            flags, page, count = fields.next(), fields.next(), fields.next()
            need(flags == 0 and count > 0, f"inode {owner}: an extent that this format does not have")
            store.reach(page, count, f"content of inode {owner}")
            each.extents.append((int.from_bytes(suffix, "big"), page, count))
        elif kind == KIND_ENTRY:
            fields = Varints(value, f"an entry of inode {owner}")
            child, kind_of_child = fields.next(), fields.byte()
            each.entries.append((int.from_bytes(suffix, "big"), child, kind_of_child, fields.rest()))
        else:
            raise Damage(f"inode {owner}: a record of the unknown kind {kind}")
    return objects, orphans


def read_xattr(store, owner, value):
    need(value[:1] in (b"\0", b"\1"), f"inode {owner}: an xattr of an unknown form")
    if value[0] == 0:
        return value[1:]
    fields = Varints(value[1:], f"an xattr of inode {owner}")
    length, runs, data = fields.next(), fields.next(), b""
    for _ in range(runs):
        first, count = fields.next(), fields.next()
        store.reach(first, count, f"an xattr of inode {owner}")
        data += store.read(first, count)
    need((length + PAGE - 1) // PAGE * PAGE == len(data), f"inode {owner}: a large xattr of a wrong length")
    return data[:length]


def content_digest(store, each):
    """SHA-256 of the content, and the number of pages that it lies in."""
    inode, digest, at, pages = each.inode, hashlib.sha256(), 0, 0
    if inode.flags & FLAG_PAGED == 0:
        need(not each.extents, f"inode {inode.number}: extents in an inline file")
        data = each.inline or b""
        need(len(data) <= inode.size, f"inode {inode.number}: inline content behind the end")
        digest.update(data)
        at = len(data)
    else:
        need(each.inline is None, f"inode {inode.number}: inline content in a file with extents")
    for file_page, page, count in each.extents:
        need(file_page * PAGE >= at, f"inode {inode.number}: extents overlap")
        zeros(digest, file_page * PAGE - at)
        at = file_page * PAGE
        for done in range(0, count, 256):
            part = store.read(page + done, min(256, count - done))[:inode.size - at]
            digest.update(part)
            at += len(part)
        pages += count
        need((file_page + count - 1) * PAGE < inode.size, f"inode {inode.number}: pages behind the end")
    zeros(digest, inode.size - at)
    return digest.hexdigest(), pages


def zeros(digest, count):
    while count > 0:
        digest.update(bytes(min(count, 1 << 20)))
        count -= 1 << 20


# --- the whole ---------------------------------------------------------------------------------------------------------

def first_cookie(seed, name):
    """Where a name's entry lies: 56 bits of hash over 7 bits of slot."""
    return max(xxh3(name, seed) >> 8, 1) << 7


def shown(data):
    return "".join(chr(c) if 0x20 < c < 0x7F and c != 0x5C else f"\\x{c:02x}" for c in data)


def names_of(store, objects):
    """(path, Object) of every name, from the root down."""
    found, folders, met = [(b"/", objects[ROOT])], [(b"", ROOT)], collections.Counter()
    while folders:
        path, number = folders.pop()
        folder = objects[number]
        need(folder.inode.entries == len(folder.entries), f"inode {number}: a wrong count of entries")
        seen = set()
        for cookie, child, kind, name in folder.entries:
            where = f"entry {shown(name)} of inode {number}"
            first = first_cookie(store.meta.name_seed, name)
            need(first <= cookie < first + 128 and name not in seen, f"{where} is at a wrong place")
            seen.add(name)
            need(child in objects and objects[child].inode, f"{where} names inode {child}, which is not there")
            target = objects[child]
            need(kind == target.inode.mode >> 12, f"{where} tells a wrong type")
            need((number, cookie) in [(target.inode.parent, target.inode.cookie)] + target.links,
                 f"{where} is not known to its inode")
            met[child] += 1
            found.append((path + b"/" + name, target))
            if target.inode.type() == S_IFDIR:
                need(met[child] == 1, f"inode {child}: a directory with two names")
                folders.append((path + b"/" + name, child))
    return found, met


def check_objects(store, objects, orphans, met):
    recency = {}
    for key, value in store.tree("recency"):
        need(len(key) == 16 and value == b"", "a key of the recency tree is wrong")
        recency[int.from_bytes(key[8:], "big")] = int.from_bytes(key[:8], "big")
    need(not list(store.tree("spare")), "a tree that this format leaves empty")
    expiry = {}
    for key, value in store.tree("expiry"):
        need(len(key) == 16 and value == b"", "a key of the expiry tree is wrong")
        expiry[int.from_bytes(key[8:], "big")] = int.from_bytes(key[:8], "big")
    counts = collections.Counter()
    for number, each in objects.items():
        inode = each.inode
        need(inode, f"inode {number} has records, but no inode record")
        directory = inode.type() == S_IFDIR
        counts["directories" if directory else "files"] += 1
        counts["bytes"] += 0 if directory else inode.size
        is_orphan = inode.flags & FLAG_ORPHAN != 0
        need(is_orphan == (number in orphans), f"inode {number}: orphan by its flag or by its record only")
        names = 1 if number == ROOT else met[number]
        need(is_orphan == (names == 0), f"inode {number} has {names} names")
        if directory:
            subfolders = sum(1 for _, child, _, _ in each.entries if objects[child].inode.type() == S_IFDIR)
            need(inode.links == (0 if is_orphan else 2 + subfolders), f"inode {number}: a wrong link count")
        else:
            need(inode.links == names == len(each.links) + (inode.parent != 0), f"inode {number}: a wrong link count")
        listed = inode.flags & FLAG_LISTED != 0
        parked = inode.flags & FLAG_PARKED != 0
        place = inode.touched | PARKED_PLACES if parked else inode.touched
        need(recency.pop(number, None) == (place if listed else None), f"inode {number}: a wrong place in the LRU order")
        need(listed or not parked, f"inode {number} is parked nowhere")
        counts["parked"] += parked
        if inode.flags & FLAG_PINNED:
            counts["pinned"] += 1
            counts["pinned directories" if directory else "pinned bytes"] += 1 if directory else inode.size
        expires = inode.flags & FLAG_TTL and not directory and not is_orphan
        need(not expires or inode.type() in (S_IFREG, S_IFLNK), f"inode {number} expires, and is neither file nor symlink")
        need(expiry.pop(number, None) == (inode.due if expires else None), f"inode {number}: a wrong place in the expiry tree")
        need(inode.due <= inode.expires and (inode.due != 0) == bool(expires), f"inode {number}: due after its end")
        need(listed or is_orphan or number == ROOT or number >= store.meta.scan_mark or each.entries,
             f"inode {number} is not in the LRU order")
        need(number < store.meta.next_seq and inode.touched < store.meta.next_seq, f"inode {number} is from the future")
    need(not recency, "the LRU order names what is not there")
    need(not expiry, "the expiry tree names what is not there")
    told = (store.meta.pinned, store.meta.pinned_directories, store.meta.pinned_bytes, store.meta.parked)
    seen = (counts["pinned"], counts["pinned directories"], counts["pinned bytes"], counts["parked"])
    need(told == seen, f"pinned, pinned directories and bytes, parked: the meta says {told}, there are {seen}")
    need(orphans <= set(objects), "an orphan record without its inode")
    told = (store.meta.files, store.meta.directories, store.meta.orphans, store.meta.content_bytes)
    seen = (counts["files"], counts["directories"], len(orphans), counts["bytes"])
    need(told == seen, f"files, directories, orphans, bytes: the meta says {told}, there are {seen}")
    need(store.state != "live" or store.meta.version == 1 or store.new_pages_sum == store.meta.new_pages_sum,
         "pages of the live state are not in its version")


def main(arguments):
    live, space = "--live" in arguments, "--no-space" not in arguments
    paths = [argument for argument in arguments if argument not in ("--live", "--no-space")]
    if len(paths) != 1 or paths[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    store = Store(paths[0], live)
    objects, orphans = read_objects(store)
    need(ROOT in objects and objects[ROOT].inode, "there is no root")
    found, met = names_of(store, objects)
    check_objects(store, objects, orphans, met)

    digests = {}
    for number, each in objects.items():
        digests[number], pages = ("-", 0) if each.inode.type() == S_IFDIR else content_digest(store, each)
        pages += sum((len(v) + PAGE - 1) // PAGE for v in each.xattrs.values() if len(v) > 512)
        need(pages == each.inode.pages, f"inode {number}: the count of pages is {each.inode.pages}, there are {pages}")
    for path, each in sorted(found, key=lambda item: item[0]):
        inode = each.inode
        print(f"{inode.mode:o}", inode.links, inode.uid, inode.gid, inode.rdev, inode.size, "%d.%09d" % inode.mtime,
              inode.number, digests[inode.number], shown(path), sep="\t")
        for name, value in sorted(each.xattrs.items()):
            print("@", len(value), hashlib.sha256(value).hexdigest(), shown(name), shown(path), sep="\t")

    checked = "free space not looked at"
    if space:
        used = store.used_pages()
        reached = store.reached | set(range(HEADER_PAGES))
        need(used == reached, f"free space: {len(used - reached)} pages are marked as used and are not "
                              f"{sorted(used - reached)[:5]}, {len(reached - used)} the other way {sorted(reached - used)[:5]}")
        checked = f"{len(used)} pages in use"
    print(f"{store.state} state {store.meta.txn} of store {store.meta.uuid.hex()}: {len(found)} names, {len(objects)} objects, "
          f"{store.tree_pages} tree pages, {checked}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Damage, OSError, struct.error) as error:
        print(f"read_store.py: {error}", file=sys.stderr)
        sys.exit(1)
