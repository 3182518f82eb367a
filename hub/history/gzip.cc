#include "hub/history/gzip.h"

#include <new>

#include <libdeflate.h>

namespace clusterpulse::history {

Gzip::Gzip() : compressor_(libdeflate_alloc_compressor(1)) {
  if (compressor_ == nullptr) throw std::bad_alloc();
}

void Gzip::Free::operator()(libdeflate_compressor* compressor) const { libdeflate_free_compressor(compressor); }

std::string Gzip::Compress(std::string_view text) {
  const std::size_t bound = libdeflate_gzip_compress_bound(compressor_.get(), text.size());
  if (out_.size() < bound) out_.resize(bound);
  const std::size_t size =
      libdeflate_gzip_compress(compressor_.get(), text.data(), text.size(), out_.data(), out_.size());
  return out_.substr(0, size);
}

}  // namespace clusterpulse::history
