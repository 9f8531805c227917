#include "store/error.h"

namespace lrufs::store {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kNotFound:
      return "not_found";
    case Code::kExists:
      return "exists";
    case Code::kNotDirectory:
      return "not_a_directory";
    case Code::kIsDirectory:
      return "is_a_directory";
    case Code::kNotEmpty:
      return "not_empty";
    case Code::kNameTooLong:
      return "name_too_long";
    case Code::kInvalid:
      return "invalid";
    case Code::kNoAttribute:
      return "no_attribute";
    case Code::kTooManyLinks:
      return "too_many_links";
    case Code::kFileTooLarge:
      return "file_too_large";
    case Code::kValueTooLarge:
      return "value_too_large";
    case Code::kNoSpace:
      return "no_space";
    case Code::kReadOnly:
      return "read_only";
    case Code::kBusy:
      return "busy";
    case Code::kIo:
      return "io";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kNotAStore:
      return "not_a_store";
    case Code::kNewerFormat:
      return "newer_format";
    case Code::kBoundTooSmall:
      return "bound_too_small";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kConflict:
      return "conflict";
    case Code::kStale:
      return "stale";
    case Code::kNotPermitted:
      return "not_permitted";
  }
  return "unknown";
}

std::string describe(const Error& error) {
  return error.message.empty() ? std::string(code_name(error.code)) : error.message;
}

}  // namespace lrufs::store
