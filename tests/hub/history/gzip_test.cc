#include "hub/history/gzip.h"

#include <catch2/catch.hpp>

#include "hub/history/line_encoder.h"
#include "tests/common/wire/sample_batch.h"
#include "tests/hub/history/batches.h"
#include "tests/hub/history/gunzip.h"

namespace clusterpulse::history {
namespace {

using namespace std::chrono_literals;

constexpr base::SystemTime kMoment(std::chrono::milliseconds(1'700'000'000'123));

std::string LinesOf(const model::Batch& batch) {
  LineBuffer lines;
  LineEncoder encoder(lines, StampOf(batch), StampOf(batch));
  ForEachSample(batch, encoder);
  return std::string(lines.view());
}

TEST_CASE("lines of samples come back as they were, in a tenth of their bytes") {
  Gzip gzip;
  const std::string lines = LinesOf(NodeBatch("cluster-7", 200, kMoment));
  const std::string packed = gzip.Compress(lines);
  CHECK(Gunzip(packed) == lines);
  CHECK(packed.size() * 10 < lines.size());
  CHECK(gzip.Compress(lines) == packed);  // nothing of the text before is left
  const std::string mixed = LinesOf(wire::FullBatch());
  CHECK(Gunzip(gzip.Compress(mixed)) == mixed);
}

TEST_CASE("members behind one another are one file") {
  Gzip gzip;
  std::string all, packed;
  for (int i = 0; i < 20; ++i) {
    const std::string lines = LinesOf(NodeBatch("c" + std::to_string(i), i, kMoment + i * 1s));
    all += lines;
    packed += gzip.Compress(lines);
  }
  CHECK(Gunzip(packed) == all);
}

TEST_CASE("an empty text, and one that cannot be made smaller, come back") {
  Gzip gzip;
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  for (const std::string& text : {std::string(), std::string("\n"), bytes, std::string(100'000, 'a')}) {
    CAPTURE(text.size());
    CHECK(Gunzip(gzip.Compress(text)) == text);
  }
}

}  // namespace
}  // namespace clusterpulse::history
