#pragma once

#include <memory>
#include <string>
#include <string_view>

struct libdeflate_compressor;

namespace clusterpulse::history {

// Compresses lines of samples (line_encoder.h), fast rather than small: libdeflate at its lowest level. Each text
// becomes one gzip member; members behind one another are again a gzip file, of the texts behind one another. Confined
// to one thread.
class Gzip {
 public:
  Gzip();

  std::string Compress(std::string_view text);

 private:
  struct Free {
    void operator()(libdeflate_compressor* compressor) const;
  };
  std::unique_ptr<libdeflate_compressor, Free> compressor_;
  std::string out_;  // kept: of the worst case
};

}  // namespace clusterpulse::history
