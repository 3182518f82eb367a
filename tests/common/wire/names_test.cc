#include "common/wire/names.h"

#include <catch2/catch.hpp>

using clusterpulse::wire::IsDnsLabel;
using clusterpulse::wire::IsDnsSubdomain;
using clusterpulse::wire::IsName;

TEST_CASE("names") {
  struct Case {
    std::string name;
    bool subdomain, label;
  };
  const auto c = GENERATE(values<Case>({
      {"a", true, true},
      {"worker-1", true, true},
      {"0", true, true},
      {"ip-10-0-0-1.eu-west-1.compute.internal", true, false},
      {std::string(63, 'a'), true, true},
      {std::string(64, 'a'), true, false},
      {std::string(253, 'a'), true, false},
      {std::string(254, 'a'), false, false},
      {"", false, false},
      {".", false, false},
      {"a.", false, false},
      {".a", false, false},
      {"a..b", false, false},
      {"-a", false, false},
      {"a-", false, false},
      {"a-.b", false, false},
      {"A", false, false},
      {"a_b", false, false},
      {"a:b", false, false},
      {"a b", false, false},
      {std::string("a\0b", 3), false, false},
      {"\xc3\xa4", false, false},
  }));
  CAPTURE(c.name);
  CHECK(IsDnsSubdomain(c.name) == c.subdomain);
  CHECK(IsDnsLabel(c.name) == c.label);
}

TEST_CASE("names of any kind") {
  for (const std::string name : {"a", "system:node", "Certificates (all)", "\xc3\xa4"}) CHECK(IsName(name));
  CHECK(IsName(std::string(253, 'a')));
  for (const std::string& name :
       {std::string(), std::string(254, 'a'), std::string("a\nb"), std::string("a\0b", 3), std::string("\x7f")}) {
    CAPTURE(name);
    CHECK_FALSE(IsName(name));
  }
}
