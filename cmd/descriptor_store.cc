#include "cmd/descriptor_store.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace lrufs::cmd {
namespace {

constexpr const char* kConnection = "lrufs-connection";
constexpr const char* kMemory = "lrufs-memory";
constexpr unsigned kDescriptors = 2;
constexpr std::uint64_t kPatience = 2'000'000;  // µs

constexpr const char* kManager = "org.freedesktop.systemd1";
constexpr const char* kUnit = "org.freedesktop.systemd1.Unit";
constexpr const char* kService = "org.freedesktop.systemd1.Service";

// What the manager says of the unit that we are (org.freedesktop.systemd1(5)).
class Unit {
 public:
  // nullopt: there is no manager, or it does not know us.
  static std::optional<Unit> ours();

  [[nodiscard]] std::optional<std::uint32_t> number(const char* property) const;
  // "start", "stop", "restart", …; empty: nothing is being done with it.
  [[nodiscard]] std::string job() const;

 private:
  struct Close {
    void operator()(sd_bus* bus) const { ::sd_bus_flush_close_unref(bus); }
  };
  using Bus = std::unique_ptr<sd_bus, Close>;
  Unit(Bus bus, std::string path) : bus_(std::move(bus)), path_(std::move(path)) {}
  static Bus connect();

  Bus bus_;
  std::string path_;
};

// The manager's own socket: a bus need not run.
Unit::Bus Unit::connect() {
  const char* const run =
      ::getuid() == 0 ? "/run" : std::getenv("XDG_RUNTIME_DIR");  // NOLINT(concurrency-mt-unsafe)
  if (run == nullptr) return nullptr;
  sd_bus* made = nullptr;
  if (::sd_bus_new(&made) < 0) return nullptr;
  Bus bus(made);
  const std::string address = std::string("unix:path=") + run + "/systemd/private";
  if (::sd_bus_set_address(bus.get(), address.c_str()) < 0 || ::sd_bus_start(bus.get()) < 0) return nullptr;
  (void)::sd_bus_set_method_call_timeout(bus.get(), kPatience);
  return bus;
}

std::optional<Unit> Unit::ours() {
  Bus bus = connect();
  if (bus == nullptr) return std::nullopt;
  sd_bus_message* reply = nullptr;
  const char* path = nullptr;
  std::optional<Unit> out;
  if (::sd_bus_call_method(bus.get(), kManager, "/org/freedesktop/systemd1",
                           "org.freedesktop.systemd1.Manager", "GetUnitByPID", nullptr, &reply, "u",
                           static_cast<std::uint32_t>(::getpid())) >= 0 &&
      ::sd_bus_message_read(reply, "o", &path) > 0)
    out = Unit(std::move(bus), path);
  ::sd_bus_message_unref(reply);
  return out;
}

std::optional<std::uint32_t> Unit::number(const char* property) const {
  std::uint32_t value = 0;
  if (::sd_bus_get_property_trivial(bus_.get(), kManager, path_.c_str(), kService, property, nullptr, 'u',
                                    &value) < 0)
    return std::nullopt;
  return value;
}

std::string Unit::job() const {
  sd_bus_message* reply = nullptr;
  std::uint32_t id = 0;
  const char* job = nullptr;
  std::string type;
  if (::sd_bus_get_property(bus_.get(), kManager, path_.c_str(), kUnit, "Job", nullptr, &reply, "(uo)") >=
          0 &&
      ::sd_bus_message_read(reply, "(uo)", &id, &job) > 0 && id != 0) {
    char* text = nullptr;
    if (::sd_bus_get_property_string(bus_.get(), kManager, job, "org.freedesktop.systemd1.Job", "JobType",
                                     nullptr, &text) >= 0)
      type = text;
    std::free(text);  // NOLINT: it is malloc's
  }
  ::sd_bus_message_unref(reply);
  return type;
}

bool has_manager() { return std::getenv("NOTIFY_SOCKET") != nullptr; }  // NOLINT(concurrency-mt-unsafe)

}  // namespace

bool manager_keeps_descriptors() {
  if (!has_manager()) return false;
  if (const char* const most = std::getenv("FDSTORE"))  // NOLINT(concurrency-mt-unsafe)
    return std::strtoul(most, nullptr, 10) >= kDescriptors;
  const auto unit = Unit::ours();
  return unit && unit->number("FileDescriptorStoreMax").value_or(0) >= kDescriptors;
}

// FDPOLL=0: an ended connection polls as an error, and is ours to drop.
void keep_descriptors(int connection, int memory) {
  const auto keep = [](const char* name, int fd) {
    const std::string state = std::string("FDSTORE=1\nFDPOLL=0\nFDNAME=") + name;
    (void)::sd_pid_notify_with_fds(0, 0, state.c_str(), &fd, 1);
  };
  keep(kConnection, connection);
  keep(kMemory, memory);
}

void drop_descriptors() {
  for (const char* const name : {kConnection, kMemory})
    (void)::sd_notify(0, (std::string("FDSTOREREMOVE=1\nFDNAME=") + name).c_str());
}

fs::fuse::KeptMount kept_descriptors() {
  fs::fuse::KeptMount kept;
  char** names = nullptr;
  const int count = ::sd_listen_fds_with_names(1, &names);
  for (int i = 0; i < count; ++i) {
    const std::string_view name = names[i];
    fs::fuse::Fd fd(SD_LISTEN_FDS_START + i);
    if (name == kConnection) kept.connection = std::move(fd);
    if (name == kMemory) kept.memory = std::move(fd);
    std::free(names[i]);  // NOLINT: they are malloc's
  }
  std::free(names);  // NOLINT
  return kept;
}

bool manager_starts_again() {
  const auto unit = Unit::ours();
  if (!unit || unit->number("NFileDescriptorStore").value_or(0) < kDescriptors) return false;
  const std::string job = unit->job();
  return job == "restart" || job == "try-restart";
}

}  // namespace lrufs::cmd
