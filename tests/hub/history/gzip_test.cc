#include "hub/history/gzip.h"

#include <catch2/catch.hpp>

#include "common/base/random.h"
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

TEST_CASE("any text comes back, and grows by an eighth at most") {
  Gzip gzip;
  std::vector<std::string> texts = {"",        "\n",        "\n\n\n",       "x",         "{", " ",
                                    "a{} 1 2", "a{} 1 2\n", "{ { {\n } \n", "\xff\xfe\n"};
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  texts.push_back(bytes + bytes);
  for (std::size_t n = 0; n < 1200; n += 7) texts.push_back(std::string(n, 'a'));
  // The same line over and over, of every length around that of the longest match and the window.
  for (const std::size_t label : {1, 100, 200, 240, 258, 259, 300, 600, 1000}) {
    const std::string line =
        "clusterpulse_node_cpu_capacity{cluster=\"c\",node=\"" + std::string(label, 'n') + "\"} 16 1700\n";
    std::string text;
    while (text.size() < 80'000) text += line;
    texts.push_back(text);
  }
  const std::string begin = LinesOf(NodeBatch("c", 1, kMoment));
  for (const std::size_t apart : {30'000, 32'767, 32'768, 32'769, 40'000}) {
    texts.push_back(begin + std::string(apart - begin.size(), '-') + begin);
  }
  for (const std::string& text : texts) {
    CAPTURE(text.size());
    const std::string packed = gzip.Compress(text);
    CHECK(Gunzip(packed) == text);
    CHECK(packed.size() <= text.size() + text.size() / 8 + 24);
  }
}

TEST_CASE("lines with bytes changed, cut and doubled come back") {
  Gzip gzip;
  base::SeededRandom random(11);
  const std::string lines = LinesOf(NodeBatch("cluster-7", 20, kMoment)) + LinesOf(wire::FullBatch());
  for (int round = 0; round < 500; ++round) {
    std::string text = lines;
    for (int change = 0; change < 1 + round / 10; ++change) {
      const std::size_t at = random.Next() % text.size(), count = random.Next() % 300;
      switch (random.Next() % 4) {
        case 0:
          text[at] = static_cast<char>(random.Next());
          break;
        case 1:
          text.erase(at, count);
          break;
        case 2:
          text.insert(at, text.substr(random.Next() % text.size(), count));
          break;
        default:
          text[at] = "\n {}\""[random.Next() % 5];
      }
      if (text.empty()) text = "x";
    }
    REQUIRE(Gunzip(gzip.Compress(text)) == text);
  }
}

}  // namespace
}  // namespace clusterpulse::history
