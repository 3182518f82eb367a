#include "hub/history/gzip.h"

#include <cstdlib>

#include <libdeflate.h>

namespace clusterpulse::history {
namespace {

constexpr int kFastest = 1;

libdeflate_compressor* NewCompressor() {
  libdeflate_compressor* compressor = libdeflate_alloc_compressor(kFastest);
  if (compressor == nullptr) std::abort();  // no memory: as with any other allocation here
  return compressor;
}

}  // namespace

Gzip::Gzip() : compressor_(NewCompressor()) {}

Gzip::~Gzip() { libdeflate_free_compressor(compressor_); }

std::string Gzip::Compress(std::string_view text) {
  const std::size_t bound = libdeflate_gzip_compress_bound(compressor_, text.size());
  if (bound > capacity_) {
    out_ = std::make_unique_for_overwrite<char[]>(bound);
    capacity_ = bound;
  }
  // Cannot fail: there is room for the worst case.
  return {out_.get(), libdeflate_gzip_compress(compressor_, text.data(), text.size(), out_.get(), capacity_)};
}

}  // namespace clusterpulse::history
