#include "fs/errno_map.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>

namespace lrufs::fs {
namespace {

using store::Code;

TEST(ErrnoMap, SaysWhatTheSystemCallsSay) {
  const std::map<Code, int> expected = {
      {Code::kNotFound, ENOENT},
      {Code::kExists, EEXIST},
      {Code::kNotDirectory, ENOTDIR},
      {Code::kIsDirectory, EISDIR},
      {Code::kNotEmpty, ENOTEMPTY},
      {Code::kNameTooLong, ENAMETOOLONG},
      {Code::kInvalid, EINVAL},
      {Code::kNoAttribute, ENODATA},
      {Code::kTooManyLinks, EMLINK},
      {Code::kFileTooLarge, EFBIG},
      {Code::kValueTooLarge, E2BIG},
      {Code::kNoSpace, ENOSPC},
      {Code::kReadOnly, EROFS},
      {Code::kBusy, EBUSY},
      {Code::kIo, EIO},
      {Code::kCorrupt, EIO},
      {Code::kNotAStore, EINVAL},
      {Code::kNewerFormat, EINVAL},
      {Code::kBoundTooSmall, EINVAL},
      {Code::kUnsupported, EOPNOTSUPP},
      {Code::kConflict, EAGAIN},
      {Code::kStale, ESTALE},
      {Code::kNotPermitted, EPERM},
  };
  EXPECT_EQ(expected.size(), static_cast<std::size_t>(Code::kNotPermitted) + 1);
  for (const auto& [code, number] : expected) EXPECT_EQ(to_errno(code), number) << store::code_name(code);
}

TEST(ErrnoMap, TakesErrors) { EXPECT_EQ(to_errno(store::Error(Code::kNoSpace, "full", EDQUOT)), ENOSPC); }

TEST(ErrnoMap, AnswersUnknownCodesWithEio) { EXPECT_EQ(to_errno(static_cast<Code>(250)), EIO); }

}  // namespace
}  // namespace lrufs::fs
