// RocksDB: its log on, so that a put survives SIGKILL; synced at each put (it groups concurrent ones) or by
// sync(). Values are noise, so compression is off; the block cache holds everything and Bloom filters are on.
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include "peers/peer.h"

namespace lrufs::bench {

namespace {

void check(const rocksdb::Status& status) {
  if (!status.ok()) die("RocksDB: " + status.ToString());
}

class RocksDb final : public Peer {
 public:
  explicit RocksDb(const Setup& setup) {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = rocksdb::NewLRUCache(4ULL << 30U);
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    write_.sync = setup.put_is_synced;
    rocksdb::DB* db = nullptr;
    check(rocksdb::DB::Open(options, setup.folder, &db));
    db_.reset(db);
  }

  void put(std::string_view key, std::string_view value) override {
    check(db_->Put(write_, {key.data(), key.size()}, {value.data(), value.size()}));
  }

  bool get(unsigned /*thread*/, std::string_view key, std::string& value) override {
    const rocksdb::Status status = db_->Get({}, {key.data(), key.size()}, &value);
    if (status.IsNotFound()) return false;
    check(status);
    return true;
  }

  void sync() override { check(db_->SyncWAL()); }

 private:
  rocksdb::WriteOptions write_;
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace

std::unique_ptr<Peer> open_rocksdb(const Setup& setup) { return std::make_unique<RocksDb>(setup); }

}  // namespace lrufs::bench
