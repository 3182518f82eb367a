#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include <zlib.h>

namespace clusterpulse::history {

// What gzip members behind one another hold, by zlib. Aborts when they are none.
inline std::string Gunzip(std::string_view members) {
  std::string out;
  z_stream z{};
  if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) std::abort();
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(members.data()));
  z.avail_in = static_cast<uInt>(members.size());
  while (z.avail_in > 0) {
    char block[65536];
    z.next_out = reinterpret_cast<Bytef*>(block);
    z.avail_out = sizeof block;
    const int code = inflate(&z, Z_NO_FLUSH);
    if (code != Z_OK && code != Z_STREAM_END) std::abort();
    out.append(block, sizeof block - z.avail_out);
    if (code == Z_STREAM_END && z.avail_in > 0) inflateReset(&z);
  }
  inflateEnd(&z);
  return out;
}

}  // namespace clusterpulse::history
