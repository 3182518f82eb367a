#include "collector/spool/inspect.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "collector/spool/directory.h"
#include "collector/spool/encoding.h"
#include "collector/spool/gap_list.h"
#include "common/base/printable.h"
#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/base/time_format.h"
#include "common/json/writer.h"

namespace clusterpulse::spool {
namespace {

// While a collector writes, a look may fall between two of its steps; three in a row do not.
constexpr int kLooks = 3;
constexpr std::size_t kMostName = 256;

class Inspector {
 public:
  Inspector(FileSystem& files, std::string dir) : files_(files) { out_.dir = std::move(dir); }

  absl::StatusOr<Inspection> Run() {
    // HEAD before the segments: what it tells of is in them by then.
    RETURN_IF_ERROR(ReadHead());
    ASSIGN_OR_RETURN(const Directory directory,
                     ReadDirectory(files_, out_.dir, out_.head ? out_.head->instance : "", Verify::kAll));
    for (const auto& [index, segment] : directory.segments) Take(index, segment, directory.instance);
    for (const Directory::OtherFile& other : directory.others) {
      out_.others.push_back({base::Printable(other.file, kMostName), other.why});
    }
    if (!out_.head && !out_.segments.empty() && !head_is_broken_) {
      out_.damage.push_back({"HEAD", {0, 0, "it is missing"}});
    }
    FindMissing();
    return std::move(out_);
  }

 private:
  absl::Status ReadHead() {
    auto head = HeadFile::Read(files_, out_.dir);
    if (head.ok()) {
      out_.head = *std::move(head);
      durable_ = out_.head->durable;
    } else if (absl::IsDataLoss(head.status())) {
      head_is_broken_ = true;
      out_.damage.push_back({"HEAD", {0, HeadFile::kBytes, "neither of its slots is whole"}});
    } else if (!absl::IsNotFound(head.status())) {
      return head.status();
    }
    return absl::OkStatus();
  }

  // All that was read so far has other numbers.
  void TakeShift(std::uint64_t index, const Record& record, const std::string& instance) {
    const auto payload = ReadRecordIn(files_, out_.dir, index, instance, record);
    const auto shift = payload.ok() ? DecodeShift(*payload) : std::nullopt;
    if (!shift) {
      out_.damage.push_back(
          {SegmentName(index), {record.offset, RecordBytes(record.length), "this is no shift of numbers"}});
      return;
    }
    if (last_shift_ && shift->after <= *last_shift_) return;
    last_shift_ = shift->after;
    for (std::uint64_t& seq : here_) seq = seq <= kMostSeq ? shift->Of(seq) : seq;
    if (gaps_.all().empty() || shift->Of(gaps_.all().back().seqs.last) <= kMostSeq)
      gaps_.Shift(shift->after, shift->by);
  }

  void Take(std::uint64_t index, const Segment& segment, const std::string& instance) {
    const std::string name = SegmentName(index);
    Inspection::SegmentFile row{.file = name,
                                .instance = segment.header ? segment.header->instance : "",
                                .broken = segment.broken.size(),
                                .bytes = segment.size,
                                .used_bytes = segment.end};
    for (const Record& record : segment.records) {
      last_given_ = std::max(last_given_, std::min(record.seq, kMostSeq));
      if (record.kind == RecordKind::kGaps) {
        ++row.gap_lists;
        const auto payload = ReadRecordIn(files_, out_.dir, index, instance, record);
        auto list = payload.ok() ? GapList::Decode(*payload) : std::nullopt;
        if (list) {
          gaps_ = *std::move(list);  // the newest counts
        } else {
          out_.damage.push_back({name, {record.offset, RecordBytes(record.length), "this is no list of gaps"}});
        }
      } else if (record.kind == RecordKind::kBatch) {
        ++row.batches;
        row.seqs.first = row.batches == 1 ? record.seq : std::min(row.seqs.first, record.seq);
        row.seqs.last = std::max(row.seqs.last, record.seq);
        row.from = row.from ? std::min(*row.from, record.time) : record.time;
        row.to = row.to ? std::max(*row.to, record.time) : record.time;
        here_.push_back(record.seq);
      } else if (record.kind == RecordKind::kShift) {
        TakeShift(index, record, instance);
      }
    }
    for (const Record& record : segment.broken) last_given_ = std::max(last_given_, std::min(record.seq, kMostSeq));
    for (const Damage& damage : segment.damage) out_.damage.push_back({name, damage});
    out_.segments.push_back(std::move(row));
  }

  void FindMissing() {
    gaps_.Forget(durable_);
    out_.gaps = gaps_.all();
    if (!out_.head) return;  // then it is not known from where on
    last_given_ = std::max(last_given_, out_.head->last_given);
    std::vector<model::SeqRange> known = durable_.ranges;
    for (const model::Gap& gap : out_.gaps) known.push_back(gap.seqs);
    for (const std::uint64_t seq : here_) known.push_back({seq, seq});
    std::sort(known.begin(), known.end(),
              [](const model::SeqRange& a, const model::SeqRange& b) { return a.first < b.first; });
    known.push_back({last_given_ + 1, last_given_ + 1});
    std::uint64_t next = std::max(out_.head->floor, durable_.low) + 1;
    for (const model::SeqRange& range : known) {
      if (range.first > last_given_ + 1) break;
      if (next < range.first) out_.missing.push_back({next, range.first - 1});
      next = std::max(next, range.last + 1);
    }
  }

  FileSystem& files_;
  Inspection out_;
  bool head_is_broken_ = false;
  std::vector<std::uint64_t> here_;
  GapList gaps_;
  std::optional<std::uint64_t> last_shift_;
  model::DurablePosition durable_;
  std::uint64_t last_given_ = 0;
};

std::string Text(const model::SeqRange& range) {
  return range.first == range.last ? fmt::format("{}", range.first) : fmt::format("{}-{}", range.first, range.last);
}

std::string Text(const model::DurablePosition& position) {
  std::string text = position.low > 0 ? fmt::format("1-{}", position.low) : "";
  for (const model::SeqRange& range : position.ranges) text += (text.empty() ? "" : ", ") + Text(range);
  return text.empty() ? "nothing" : text;
}

void Write(json::Writer& w, const model::SeqRange& range) {
  w.Member("first", static_cast<std::int64_t>(range.first)).Member("last", static_cast<std::int64_t>(range.last));
}

void Write(json::Writer& w, json::Name key, const std::optional<base::SystemTime>& time) {
  if (time) {
    w.Member(key, base::FormatNanos(*time));
  } else {
    w.Key(key).Null();
  }
}

}  // namespace

absl::StatusOr<Inspection> Inspect(FileSystem& files, const std::string& dir, std::chrono::milliseconds pause) {
  base::StopSignal nobody;
  absl::StatusOr<Inspection> inspection = Inspector(files, dir).Run();
  for (int look = 1; look < kLooks && inspection.ok() && !inspection->is_clean(); ++look) {
    (void)nobody.WaitFor(pause);
    inspection = Inspector(files, dir).Run();
  }
  return inspection;
}

std::string ToText(const Inspection& inspection) {
  std::string out = fmt::format("spool      {}\n", inspection.dir);
  if (inspection.head) {
    const Head& head = *inspection.head;
    out += fmt::format("instance   {}\ngiven      {}\ndurable    {}\n", head.instance, head.last_given,
                       Text(head.durable));
    if (head.last_collected_at) out += fmt::format("newest     {}\n", base::FormatNanos(*head.last_collected_at));
  }
  out += fmt::format("\n{:<22}{:>16}{:>9}{:>7}{:>12}{:>12}  {}\n", "SEGMENT", "NUMBERS", "BATCHES", "GAPS", "BYTES",
                     "USED", "COLLECTED");
  for (const Inspection::SegmentFile& segment : inspection.segments) {
    const std::string times =
        segment.from ? fmt::format("{} .. {}", base::FormatSeconds(*segment.from), base::FormatSeconds(*segment.to))
                     : "-";
    out += fmt::format("{:<22}{:>16}{:>9}{:>7}{:>12}{:>12}  {}\n", segment.file,
                       segment.batches > 0 ? Text(segment.seqs) : "-", segment.batches, segment.gap_lists,
                       segment.bytes, segment.used_bytes, times);
  }
  if (inspection.segments.empty()) out += "none\n";
  for (const model::Gap& gap : inspection.gaps) {
    out += fmt::format("gap        {} {}, {} .. {}\n", Text(gap.seqs), model::ToString(gap.cause),
                       base::FormatSeconds(gap.from), base::FormatSeconds(gap.to));
  }
  for (const Inspection::Place& place : inspection.damage) {
    out += fmt::format("damage     {} at {}, {} bytes: {}\n", place.file, place.damage.offset, place.damage.bytes,
                       place.damage.what);
  }
  for (const model::SeqRange& range : inspection.missing) {
    out += fmt::format("missing    {}: given, and neither here nor durable nor in a gap\n", Text(range));
  }
  for (const Directory::OtherFile& other : inspection.others) {
    out += fmt::format("no segment {}: {}\n", other.file, other.why);
  }
  out += inspection.is_clean() ? "clean\n" : "damaged\n";
  return out;
}

std::string ToJson(const Inspection& inspection) {
  std::string out;
  json::Writer w(out);
  const auto count = [](std::uint64_t value) { return static_cast<std::int64_t>(value); };
  w.BeginObject().Member("dir", inspection.dir).Member("clean", inspection.is_clean()).Key("head");
  if (inspection.head) {
    const Head& head = *inspection.head;
    w.BeginObject().Member("instance", head.instance).Member("last_given", count(head.last_given));
    Write(w, "last_collected_at", head.last_collected_at);
    w.Member("floor", count(head.floor)).Member("durable_low", count(head.durable.low)).Key("durable_ranges");
    w.BeginArray();
    for (const model::SeqRange& range : head.durable.ranges) {
      w.BeginObject();
      Write(w, range);
      w.EndObject();
    }
    w.EndArray().EndObject();
  } else {
    w.Null();
  }
  w.Key("segments").BeginArray();
  for (const Inspection::SegmentFile& segment : inspection.segments) {
    w.BeginObject().Member("file", segment.file).Member("instance", segment.instance);
    Write(w, segment.seqs);
    w.Member("batches", count(segment.batches))
        .Member("gap_lists", count(segment.gap_lists))
        .Member("broken", count(segment.broken))
        .Member("bytes", count(segment.bytes))
        .Member("used_bytes", count(segment.used_bytes));
    Write(w, "from", segment.from);
    Write(w, "to", segment.to);
    w.EndObject();
  }
  w.EndArray().Key("gaps").BeginArray();
  for (const model::Gap& gap : inspection.gaps) {
    w.BeginObject();
    Write(w, gap.seqs);
    w.Member("cause", model::ToString(gap.cause));
    Write(w, "from", std::optional(gap.from));
    Write(w, "to", std::optional(gap.to));
    w.EndObject();
  }
  w.EndArray().Key("damage").BeginArray();
  for (const Inspection::Place& place : inspection.damage) {
    w.BeginObject()
        .Member("file", place.file)
        .Member("offset", count(place.damage.offset))
        .Member("bytes", count(place.damage.bytes))
        .Member("what", place.damage.what)
        .EndObject();
  }
  w.EndArray().Key("missing").BeginArray();
  for (const model::SeqRange& range : inspection.missing) {
    w.BeginObject();
    Write(w, range);
    w.EndObject();
  }
  w.EndArray().Key("others").BeginArray();
  for (const Directory::OtherFile& other : inspection.others) {
    w.BeginObject().Member("file", other.file).Member("why", other.why).EndObject();
  }
  w.EndArray().EndObject();
  return out + "\n";
}

}  // namespace clusterpulse::spool
