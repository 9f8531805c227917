// LMDB: one write transaction each put. Not synced it runs with MDB_NOSYNC | MDB_WRITEMAP, its fastest way
// that survives SIGKILL; synced with its defaults. Each thread keeps one read transaction and renews it for
// each get.
#include <lmdb.h>

#include "peers/peer.h"

namespace lrufs::bench {

namespace {

void check(int code) {
  if (code != MDB_SUCCESS) die(std::string("LMDB: ") + mdb_strerror(code));
}

MDB_val val(std::string_view text) { return {text.size(), const_cast<char*>(text.data())}; }

class Lmdb final : public Peer {
 public:
  explicit Lmdb(const Setup& setup) : readers_(setup.threads, nullptr) {
    check(mdb_env_create(&env_));
    check(mdb_env_set_mapsize(env_, setup.bound));
    const unsigned flags = MDB_NOTLS | (setup.put_is_synced ? 0U : MDB_NOSYNC | MDB_WRITEMAP);
    check(mdb_env_open(env_, setup.folder.c_str(), flags, 0644));
    MDB_txn* txn = nullptr;
    check(mdb_txn_begin(env_, nullptr, 0, &txn));
    check(mdb_dbi_open(txn, nullptr, MDB_CREATE, &dbi_));
    check(mdb_txn_commit(txn));
  }
  ~Lmdb() override {
    for (MDB_txn* reader : readers_) {
      if (reader != nullptr) mdb_txn_abort(reader);
    }
    mdb_env_close(env_);
  }

  void put(std::string_view key, std::string_view value) override {
    MDB_val k = val(key);
    MDB_val v = val(value);
    MDB_txn* txn = nullptr;
    check(mdb_txn_begin(env_, nullptr, 0, &txn));
    check(mdb_put(txn, dbi_, &k, &v, 0));
    check(mdb_txn_commit(txn));
  }

  bool get(unsigned thread, std::string_view key, std::string& value) override {
    MDB_txn*& reader = readers_[thread];
    check(reader == nullptr ? mdb_txn_begin(env_, nullptr, MDB_RDONLY, &reader) : mdb_txn_renew(reader));
    MDB_val k = val(key);
    MDB_val v;
    const int code = mdb_get(reader, dbi_, &k, &v);
    if (code == MDB_SUCCESS) value.assign(static_cast<const char*>(v.mv_data), v.mv_size);
    mdb_txn_reset(reader);
    if (code == MDB_NOTFOUND) return false;
    check(code);
    return true;
  }

  void sync() override { check(mdb_env_sync(env_, 1)); }

 private:
  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
  std::vector<MDB_txn*> readers_;
};

}  // namespace

std::unique_ptr<Peer> open_lmdb(const Setup& setup) { return std::make_unique<Lmdb>(setup); }

}  // namespace lrufs::bench
