#include "common/metricsource/expression.h"

#include <limits>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "common/metricsource/functions.h"
#include "tests/common/metricsource/expression_rig.h"

namespace clusterpulse::metricsource {
namespace {

constexpr std::int64_t kMaxInt = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMinInt = std::numeric_limits<std::int64_t>::min();

struct UsualRig : ExpressionRig {
  UsualRig() {
    Set("i", Kind::kInt, Value::Int(7))
        .Set("f", Kind::kDouble, Value::Double(2.5))
        .Set("s", Kind::kText, Value::Text("pvc-data"))
        .Set("b", Kind::kBool, Value::Bool(true))
        .Set("n", kAnyKind, Value::Null())
        .Set("ni", Kind::kInt, Value::Null())
        .Set("ns", Kind::kText, Value::Null())
        .Set("big", Kind::kInt, Value::Int(9007199254740993))
        .Set("most", Kind::kInt, Value::Int(kMaxInt))
        .Set("least", Kind::kInt, Value::Int(kMinInt))
        .Set("number_text", Kind::kText, Value::Text("42"))
        .Set("mixed", kAnyKind, Value::Text("mixed"))
        .Set("created", Kind::kText, Value::Text("2031-02-03T04:04:06Z"))
        .Set("len", Kind::kInt, Value::Int(5));
  }
};

struct Case {
  const char* expression;
  const char* value;
};

void CheckAll(ExpressionRig& rig, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    CAPTURE(c.expression);
    CHECK(rig.Try(c.expression) == c.value);
  }
}

TEST_CASE("literals, names and blanks") {
  UsualRig rig;
  CheckAll(rig, {{"12", "12"},
                 {"12.50", "12.5"},
                 {"5.", "5.0"},
                 {"0", "0"},
                 {"9007199254740993", "9007199254740993"},  // exact: upstream's literals are doubles
                 {"9223372036854775807", "9223372036854775807"},
                 {"9223372036854775808", "9223372036854776000.0"},
                 {"TRUE", "true"},
                 {"False", "false"},
                 {"nil ?? 3", "3"},
                 {"NULL ?? 'x'", "'x'"},
                 {" \t\r\n i ", "7"},
                 {"len", "5"},
                 {"len ( 'abc' )", "3"},
                 {"\"it's\"", "'it's'"},
                 {"'a \"b\"'", "'a \"b\"'"},
                 {"''", "''"},
                 {"'größe'", "'größe'"}});
}

TEST_CASE("precedence and associativity") {
  UsualRig rig;
  CheckAll(rig, {{"2 + 3 * 4", "14"},
                 {"(2 + 3) * 4", "20"},
                 {"20 - 5 - 3", "12"},
                 {"100 / 5 / 2", "10.0"},
                 {"2 + 10 % 4 * 3", "8"},
                 {"-3 - -4", "1"},
                 {"- 2 * 5", "-10"},
                 {"!!b", "true"},
                 {"- - i", "7"},
                 {"1 + 1 < 3 == true", "true"},
                 {"true || false && false", "true"},
                 {"n ?? false || true", "true"},
                 {"n ?? 2 + 3", "5"},
                 {"n ?? n ?? 9", "9"},
                 {"4 > ni ?? 6", "6"},
                 {"!b == false", "true"}});
}

TEST_CASE("arithmetic is exact on integers and stops at their limits") {
  UsualRig rig;
  CheckAll(rig, {{"i + 1", "8"},
                 {"i + f", "9.5"},
                 {"i * 2 - 4", "10"},
                 {"big + 2", "9007199254740995"},
                 {"big * 3", "27021597764222979"},
                 {"most + 1", "9223372036854775807"},
                 {"least - 1", "-9223372036854775808"},
                 {"most * -2", "-9223372036854775808"},
                 {"least * -1", "9223372036854775807"},
                 {"-least", "9223372036854775807"},
                 {"most - -1", "9223372036854775807"},
                 {"i / 2", "3.5"},
                 {"8 / 2", "4.0"},
                 {"i % 4", "3"},
                 {"-i % 4", "-3"},
                 {"7.5 % 2", "1.5"},
                 {"least % -1", "0"},
                 {"b + b", "2"},
                 {"b * 2.5", "2.5"},
                 {"-b", "-1"},
                 {"-f", "-2.5"},
                 {"0.1 + 0.2", "0.30000000000000004"}});
}

TEST_CASE("what no document can hold is null") {
  UsualRig rig;
  CheckAll(rig, {{"i / 0", "null"},
                 {"0 / 0", "null"},
                 {"f / 0.0", "null"},
                 {"i % 0", "null"},  // upstream: NaN
                 {"f % 0", "null"},
                 {"least % 0", "null"}});
  const std::string huge(300, '9');
  CHECK(rig.Try(huge + " * " + huge) == "null");
  CHECK(rig.Try("round(1, 400)") == "1");  // upstream: NaN
  CHECK(rig.Try("round(1.25, 400)") == "1.25");
  CHECK(rig.context().type_errors() == 0);
}

TEST_CASE("null passes through, except where it is asked for") {
  UsualRig rig;
  CheckAll(rig, {{"n + 1", "null"},  // upstream: 1
                 {"ns + 'x'", "null"},
                 {"'x' + ns + 'y'", "null"},
                 {"-n", "null"},
                 {"ni * 2", "null"},
                 {"ni < 3", "null"},
                 {"3 >= ni", "null"},
                 {"ns < 'a'", "null"},
                 {"len(ns)", "null"},
                 {"lower(n)", "null"},
                 {"upper(ns)", "null"},
                 {"round(ni)", "null"},
                 {"round(f, ni)", "null"},
                 {"min(ni, 5)", "null"},  // upstream: 0
                 {"max(5, n)", "null"},
                 {"substr(ns, 0)", "null"},
                 {"substr(s, ni)", "null"},
                 {"substr(s, 0, ni)", "null"},
                 {"contains(ns, 'x')", "null"},
                 {"startsWith('x', ns)", "null"},
                 {"formatBytes(ni)", "null"},
                 {"toString(n)", "null"},
                 {"toNumber(n)", "null"},
                 {"age(ns)", "null"},
                 {"concat('a', ns, 'b', n)", "'ab'"},
                 {"concat(ns)", "''"},
                 {"n == null", "true"},
                 {"n == n", "true"},
                 {"ni == 0", "false"},
                 {"0 == ni", "false"},
                 {"ni != 0", "true"},
                 {"i != null", "true"},
                 {"n ?? 4", "4"},
                 {"'' ?? 'x'", "''"},
                 {"0 ?? 3", "0"},
                 {"false ?? true", "false"},
                 {"i ?? 4", "7"},
                 {"ns ?? upper(s)", "'PVC-DATA'"},
                 {"(n ?? ni) ?? i + 1", "8"},
                 {"coalesce(n, ni, f)", "2.5"},
                 {"coalesce(ns, n)", "null"},
                 {"coalesce(n, n + 1, i + 1)", "8"},
                 {"coalesce(n + 1, n, i + 1)", "8"},
                 {"coalesce(n, n, n + 1, i + 1)", "8"},
                 {"coalesce(n, n + 1, n + 2, i + 1, i + 2)", "8"},
                 {"coalesce(ns, lower(ns), upper(s))", "'PVC-DATA'"},
                 {"coalesce(s)", "'pvc-data'"}});
  CHECK(rig.context().type_errors() == 0);
}

TEST_CASE("conditions have three values") {
  UsualRig rig;
  CheckAll(rig, {{"n && false", "false"},
                 {"false && n", "false"},
                 {"n && true", "null"},
                 {"true && n", "null"},
                 {"n && n", "null"},
                 {"n || true", "true"},
                 {"true || n", "true"},
                 {"n || false", "null"},
                 {"b && n", "null"},
                 {"!b && n", "false"},
                 {"b || n", "true"},
                 {"!n", "null"},
                 {"!ni ?? true", "true"},
                 {"n && i > 3", "null"},
                 {"n && i < 3", "false"},
                 {"n || i > 3", "true"},
                 {"i > 3 && i < 9 && f > 2", "true"},
                 {"i > 3 && i < 5 && f > 2", "false"},
                 {"i > 9 || f > 9 || b", "true"},
                 {"i && f", "true"},
                 {"0 || 0.0", "false"},
                 {"!0", "true"},
                 {"i == 7 && s == 'pvc-data' || nope2 ?? true",
                  "30: unknown name \"nope2\": no field or computed value has it"}});
  CHECK(rig.context().type_errors() == 0);
}

TEST_CASE("what decides alone is all that is looked at") {
  UsualRig rig;
  // The right side would have no value.
  CheckAll(rig, {{"i < 3 && toNumber(s) + 1 > 2", "false"},
                 {"i > 3 || toNumber(s) + 1 > 2", "true"},
                 {"i ?? toNumber(s) + 1", "7"},
                 {"false && toNumber(s)", "false"},
                 {"1 ?? toNumber(s)", "1"}});
  CHECK(rig.context().type_errors() == 0);
  CHECK(rig.Try("i > 3 && toNumber(s) + 1 > 2") == "null");
  CHECK(rig.context().type_errors() == 1);
}

TEST_CASE("texts are conditions only when they say so") {
  UsualRig rig;
  CheckAll(rig, {{"'true' && b", "true"},
                 {"!'FALSE'", "true"},  // upstream: any text but the empty one is true
                 {"'1' || false", "true"},
                 {"'0' || false", "false"}});
  CHECK(rig.context().type_errors() == 0);
  CHECK(rig.Try("s || false") == "null");
  CHECK(rig.said() == std::vector<std::string>{
                          "warning 1: \"||\" needs a boolean, but \"s\" is text: only \"true\", \"false\", \"1\" and "
                          "\"0\" count"});
  CHECK(rig.context().type_errors() == 1);
}

TEST_CASE("equality is by value, exact, and never null") {
  UsualRig rig;
  CheckAll(rig, {{"i == 7", "true"},  // upstream: false, for every integer field
                 {"7 == i", "true"},
                 {"i == 7.0", "true"},
                 {"i != 7", "false"},
                 {"f == 2.5", "true"},
                 {"big == 9007199254740992.0", "false"},
                 {"big == 9007199254740993", "true"},
                 {"s == 'pvc-data'", "true"},
                 {"s != 'pvc-dat'", "true"},
                 {"b == true", "true"},
                 {"b != false", "true"},
                 {"mixed == 'mixed'", "true"},
                 {"mixed == 3", "false"},
                 {"0 == s", "false"},  // upstream: true
                 {"'5' == 5", "false"},
                 {"b == 'false'", "false"},
                 {"b == 1", "false"},
                 {"1 == 1 == 1", "false"}});
}

TEST_CASE("numbers and texts are ordered, by value and by code points") {
  UsualRig rig;
  CheckAll(rig, {{"i < 8", "true"},
                 {"i <= 7", "true"},
                 {"i > 7", "false"},
                 {"i >= 7.5", "false"},
                 {"f < i", "true"},
                 {"big > 9007199254740992.0", "true"},
                 {"b > 0", "true"},
                 {"s < 'q'", "true"},  // upstream: texts are all the same
                 {"s <= 'pvc'", "false"},
                 {"'a' < 'B'", "false"},
                 {"'z' < 'é'", "true"},
                 {"'' < 'a'", "true"},
                 {"'10' < '9'", "true"}});
  CHECK(rig.context().type_errors() == 0);
  CHECK(rig.Try("mixed > 3") == "null");
  CHECK(rig.context().type_errors() == 1);
}

TEST_CASE("plus joins where a side is text") {
  UsualRig rig;
  CheckAll(rig,
           {{"s + '-' + i", "'pvc-data-7'"},
            {"1 + 2 + 'x'", "'3x'"},
            {"'x' + 1 + 2", "'x12'"},
            {"'x' + (1 + 2)", "'x3'"},
            {"b + s", "'truepvc-data'"},
            {"s + f * 2", "'pvc-data5'"},
            {"'a' + ('b' + ('c' + s))", "'abcpvc-data'"},
            {"(s + '/') + (s + '.')", "'pvc-data/pvc-data.'"},
            {"mixed + 1", "'mixed1'"},
            {"mixed + mixed", "'mixedmixed'"},
            {"'a' + lower('B') + 'c' + upper(s)", "'abcPVC-DATA'"},
            {"s+s+s+s+s+s+s+s+s+i", "'pvc-datapvc-datapvc-datapvc-datapvc-datapvc-datapvc-datapvc-datapvc-data7'"}});
}

TEST_CASE("functions of numbers") {
  UsualRig rig;
  CheckAll(rig, {{"round(2.5)", "3.0"},
                 {"round(-2.5)", "-3.0"},
                 {"round(i)", "7"},
                 {"round(f)", "3.0"},
                 {"round(3.14159, 2)", "3.14"},
                 {"round(1.005, 1.9)", "1.0"},
                 {"round(8675, -2)", "8700"},
                 {"round(-8650, -2)", "-8700"},
                 {"round(8649, -2)", "8600"},
                 {"round(most, -1)", "9223372036854775807"},
                 {"round(most, -18)", "9000000000000000000"},
                 {"round(most, -19)", "9223372036854775807"},
                 {"round(4999999999999999999, -19)", "0"},
                 {"round(least, -19)", "-9223372036854775808"},
                 {"round(most, -20)", "0"},
                 {"round(8675.5, -2)", "8700.0"},
                 {"round(1.5, -400)", "0.0"},
                 {"round(2.675, 2)", "2.68"},
                 {"round(0.1 + 0.2, 25)", "0.30000000000000004"},
                 {"round(b)", "1"},
                 {"floor(-1.5)", "-2.0"},
                 {"ceil(-1.5)", "-1.0"},
                 {"floor(big)", "9007199254740993"},
                 {"ceil(f)", "3.0"},
                 {"abs(-4)", "4"},
                 {"abs(-f)", "2.5"},
                 {"abs(least)", "9223372036854775807"},
                 {"min(i, f)", "2.5"},
                 {"max(i, f)", "7"},
                 {"min(big, 9007199254740992.0)", "9007199254740992.0"},
                 {"max(2, 2.0)", "2"},
                 {"min(b, 3)", "1"},
                 {"formatBytes(0)", "'0.00B'"},
                 {"formatBytes(1023)", "'1023.00B'"},
                 {"formatBytes(2560)", "'2.50Ki'"},
                 {"formatBytes(3221225472)", "'3.00Gi'"},
                 {"formatBytes(1152921504606846976 * 2)", "'2048.00Pi'"},
                 {"formatBytes(-2048)", "'-2048.00B'"},
                 {"toNumber(f)", "2.5"},
                 {"toNumber(b)", "1"}});
}

TEST_CASE("functions of texts") {
  UsualRig rig;
  CheckAll(rig, {{"concat(1, 'a', n, true, 2.5)", "'1atrue2.5'"},
                 {"concat(s)", "'pvc-data'"},
                 {"concat(1,2,3,4,5,6,7,8,9,s,n)", "'123456789pvc-data'"},
                 {"lower('ÄÖÜ Straße İ')", "'äöü straße i'"},
                 {"upper('äöü Straße ǆ')", "'ÄÖÜ STRAßE Ǆ'"},  // one character for one, as upstream
                 {"upper(s)", "'PVC-DATA'"},
                 {"lower('pvc')", "'pvc'"},
                 {"upper(12.5)", "'12.5'"},
                 {"lower(b)", "'true'"},
                 {"len('größe')", "7"},
                 {"len(1234.5)", "6"},
                 {"len('')", "0"},
                 {"toString(1234567.25)", "'1234567.25'"},  // upstream: 1.23456725e+06
                 {"toString(i)", "'7'"},
                 {"toString(0.00001)", "'0.00001'"},
                 {"toString(s)", "'pvc-data'"},
                 {"toNumber('42')", "42"},  // upstream: 0
                 {"toNumber('-12.5')", "-12.5"},
                 {"toNumber('1e3')", "1000.0"},
                 {"toNumber(number_text) * 2", "84"},
                 {"contains(s, 'c-d')", "true"},
                 {"contains(s, '')", "true"},
                 {"contains('', 'x')", "false"},
                 {"contains(12345, 34)", "true"},
                 {"startsWith(s, 'pvc')", "true"},
                 {"startsWith(s, 'PVC')", "false"},
                 {"endsWith(s, 'data')", "true"},
                 {"endsWith('data', s)", "false"}});
  CHECK(rig.context().type_errors() == 0);
  CheckAll(rig, {{"toNumber(s)", "null"},
                 {"toNumber('')", "null"},
                 {"toNumber(' 1')", "null"},
                 {"toNumber('NaN')", "null"},
                 {"toNumber('inf')", "null"},
                 {"toNumber(s) ?? 5", "5"}});
  CHECK(rig.context().type_errors() == 6);
}

TEST_CASE("substr cuts bytes but no character") {
  UsualRig rig;
  CheckAll(rig, {{"substr(s, 4)", "'data'"},
                 {"substr(s, 0, 3)", "'pvc'"},
                 {"substr('hello', 1.9, 2.9)", "'el'"},
                 {"substr(s, 4, 100)", "'data'"},
                 {"substr(s, 8)", "''"},
                 {"substr(s, -1)", "''"},
                 {"substr(s, 2, -1)", "''"},  // upstream: crashes
                 {"substr(s, 0, 0)", "''"},
                 {"substr(123456, 2, 2)", "'34'"},
                 {"substr(s, most, most)", "''"},
                 {"substr(s, 1, most)", "'vc-data'"},
                 // é has two bytes, 1 and 2
                 {"substr('héllo', 0, 2)", "'h'"},
                 {"substr('héllo', 0, 3)", "'hé'"},
                 {"substr('héllo', 2)", "'éllo'"},
                 {"substr('héllo', 0, 2) + substr('héllo', 2)", "'héllo'"},
                 {"substr('a😀b', 0, 4)", "'a'"},
                 {"substr('a😀b', 4, 2)", "'😀b'"}});
}

TEST_CASE("time stands still for a run") {
  UsualRig rig;
  CheckAll(rig, {{"now()", "'2031-02-03T04:05:06Z'"},
                 {"age(created)", "60.5"},
                 {"age('2031-02-03T05:05:06.5+01:00')", "0.0"},
                 {"age('2031-02-03T04:06:06.5Z')", "-60.0"},
                 {"age(now())", "0.5"},
                 {"age('')", "null"},
                 {"round(age(created) / 60, 1)", "1.0"}});
  CHECK(rig.context().type_errors() == 0);
  CHECK(rig.Try("age('yesterday')") == "null");
  CHECK(rig.Try("age('0001-01-01T00:00:00Z') > 0") == "true");
  CHECK(rig.context().type_errors() == 1);
}

TEST_CASE("escapes in texts") {
  UsualRig rig;
  CheckAll(rig, {{R"('a\nb\tc')", "'a\nb\tc'"},
                 {R"("say \"x\"")", "'say \"x\"'"},  // upstream keeps the backslashes
                 {R"('it\'s')", "'it's'"},
                 {R"('c:\\d')", R"('c:\d')"},
                 {R"('\u00e9\u4E2d')", "'é中'"},
                 {R"('\ud83d\ude00')", "'😀'"},
                 {R"(len('\u0000'))", "1"}});
  CHECK(rig.said().empty());
  CHECK(rig.Try(R"('^\d+$')") == R"('^\d+$')");
  CHECK(rig.said() ==
        std::vector<std::string>{R"(warning 3: unknown escape "\d" stays as it is written, did you mean "\\d"?)"});
  CHECK(rig.Try(R"('\u12x4')") == R"('\u12x4')");
  CHECK(rig.Try(R"('\é')") == R"('\é')");
  CHECK(rig.Try(R"('\ud83d')") == R"(2: \ud83d is half of a character)");
  CHECK(rig.Try(R"('\ude00\ud83d')") == R"(2: \ude00 is half of a character)");
}

TEST_CASE("what is malformed is refused with its place") {
  UsualRig rig;
  CheckAll(rig, {{"", "1: the expression is empty"},
                 {" \t", "1: the expression is empty"},
                 {"i b", "3: unexpected \"b\" behind the end of the expression"},  // upstream: i
                 {"b and i", "3: unexpected \"and\" behind the end of the expression, did you mean \"&&\"?"},
                 {"i = 2", "3: unexpected \"=\", did you mean \"==\"?"},
                 {"b & b", "3: unexpected \"&\", did you mean \"&&\"?"},
                 {"b | b", "3: unexpected \"|\", did you mean \"||\"?"},
                 {"n ? 2", "3: unexpected \"?\", did you mean \"??\"?"},
                 {"i @ 3", "3: unexpected \"@\""},
                 {"i; 3", "2: unexpected \";\""},
                 {"'größe' § 3", "9: unexpected \"§\""},
                 {"i)", "2: this \")\" has no \"(\""},
                 {"1, 2", "2: unexpected \",\" behind the end of the expression"},
                 {"s.x", "2: unexpected \".\""},
                 {"i[0]", "2: unexpected \"[\""},
                 {"1e5", "1: malformed number \"1e5\": it has digits and one point, no exponent, no unit"},
                 {"i > 5Gi", "5: malformed number \"5Gi\": it has digits and one point, no exponent, no unit"},
                 {"1.2.3", "1: malformed number \"1.2.3\""},
                 {".5", "1: malformed number \".5\", did you mean \"0.5\"?"},
                 {"+5", "1: there is no unary \"+\""},
                 {"(i", "1: this \"(\" has no \")\""},
                 {"round(i", "6: this \"(\" has no \")\""},
                 {"()", "1: a value is missing behind \"(\""},
                 {"i +", "3: a value is missing behind \"+\""},
                 {"* 3", "1: unexpected \"*\" where a value is needed"},
                 {"concat(1,)", "9: a value is missing behind \",\""},
                 {"round(1 2)", "9: unexpected \"2\" where an operator or \")\" is needed"},
                 {"(i)(f)", "4: unexpected \"(\": only a function's name can be called"},
                 {"5(3)", "2: unexpected \"(\": only a function's name can be called"},
                 {"'abc", "1: the text is not ended by '"},
                 {"i == \"abc\\", "6: the text is not ended by \""},  // upstream: crashes
                 {"'\\", "1: the text is not ended by '"},
                 {"i - 'é\xFF'", "7: the expression is not valid UTF-8 from here"}});
}

TEST_CASE("names, functions and their arguments are known when it is compiled") {
  UsualRig rig;
  CheckAll(rig,
           {{"rouns(f)", "1: unknown function \"rouns\", did you mean \"round\"?"},
            {"Round(f)", "1: unknown function \"Round\", did you mean \"round\"?"},
            {"frobnicate(f)", "1: unknown function \"frobnicate\""},
            {"if(b, 1, 2)", "1: unknown function \"if\": there is no conditional"},
            {"i(3)", "1: \"i\" is a value, not a function"},
            {"1 + creatd", "5: unknown name \"creatd\": no field or computed value has it, did you mean \"created\"?"},
            {"now", "1: \"now\" is a function and needs \"(\""},
            {"my-i", "1: unknown name \"my\": no field or computed value has it"},
            {"round()", "1: \"round\" takes 1 or 2 arguments, not 0"},
            {"round(1, 2, 3)", "1: \"round\" takes 1 or 2 arguments, not 3"},
            {"min(1)", "1: \"min\" takes 2 arguments, not 1"},
            {"min(1, 2, 3)", "1: \"min\" takes 2 arguments, not 3"},
            {"now(1)", "1: \"now\" takes no arguments, not 1"},
            {"concat()", "1: \"concat\" takes at least 1 argument, not 0"},
            {"coalesce()", "1: \"coalesce\" takes at least 1 argument, not 0"},
            {"len()", "1: \"len\" takes 1 argument, not 0"}});
  for (const FunctionInfo& function : Functions()) {
    CAPTURE(std::string(function.name));
    std::string call = std::string(function.name) + "(";
    for (int k = 0; k < function.least; ++k) call += k == 0 ? "n" : ", n";
    CHECK(rig.Try(call + ")").find(':') == (function.function == Function::kNow ? 14 : std::string::npos));
    if (function.most == kAnyNumber) continue;
    call = std::string(function.name) + "(n";
    for (int k = 0; k < function.most; ++k) call += ", n";
    CHECK(rig.Try(call + ")").find(" takes ") != std::string::npos);
  }
}

TEST_CASE("types are refused where no value is possible, and only there") {
  UsualRig rig;
  CheckAll(rig, {{"s * 2", "1: \"*\" needs a number, but \"s\" is text, did you mean \"toNumber(s)\"?"},
                 {"2 - s", "5: \"-\" needs a number, but \"s\" is text, did you mean \"toNumber(s)\"?"},
                 {"-s", "2: \"-\" needs a number, but \"s\" is text, did you mean \"toNumber(s)\"?"},
                 {"'4' / 2", "1: \"/\" needs a number, but it is text"},
                 {"upper(s) % 2", "1: \"%\" needs a number, but \"upper\" is text"},
                 {"s < 3", "3: \"<\" cannot order text and a number, did you mean \"toNumber(s)\"?"},
                 {"b >= s", "3: \">=\" cannot order a boolean and text, did you mean \"toNumber(s)\"?"},
                 {"round(s)", "7: \"round\" needs a number, but \"s\" is text, did you mean \"toNumber(s)\"?"},
                 {"substr(s, s)", "11: \"substr\" needs a number, but \"s\" is text, did you mean \"toNumber(s)\"?"},
                 {"age(i)", "5: \"age\" needs text, but \"i\" is a number"},
                 {"min(i, now())", "8: \"min\" needs a number, but \"now\" is text"},
                 {"mixed * 2", "null"},
                 {"(ns ?? 2) * 2", "4"},
                 {"coalesce(ns, i) < 8", "true"},
                 {"null * 2", "null"}});
  CHECK(rig.Try("null + i") == "null");
  CHECK(rig.said() == std::vector<std::string>{"warning 1: the expression is always null"});
  CHECK(rig.Try("s == 3") == "false");
  CHECK(rig.said() == std::vector<std::string>{"warning 3: \"==\" compares text with a number, which are never equal"});
  CHECK(rig.Try("i == 7.5 || mixed == 2 || n == s || b == b") == "true");
  CHECK(rig.said().empty());
}

TEST_CASE("all that is wrong is told at once, from left to right") {
  UsualRig rig;
  rig.Try("rond(f) + creatd * s = (i &");
  CHECK(rig.said() == std::vector<std::string>{
                          "1: unknown function \"rond\", did you mean \"round\"?",
                          "11: unknown name \"creatd\": no field or computed value has it, did you mean \"created\"?",
                          "20: \"*\" needs a number, but \"s\" is text, did you mean \"toNumber(s)\"?",
                          "22: unexpected \"=\", did you mean \"==\"?", "24: this \"(\" has no \")\"",
                          "27: unexpected \"&\", did you mean \"&&\"?"});
  std::string many = "x0";
  for (int k = 1; k < 200; ++k) many += "+x" + std::to_string(k);
  rig.Try(many);
  CHECK(rig.said().size() == 20);
  CHECK(rig.Try(std::string(3000, 'x')).size() < 120);
}

TEST_CASE("kinds are known when it is compiled") {
  UsualRig rig;
  const std::vector<std::pair<const char*, KindSet>> kCases = {
      {"i + 1", Kind::kInt},
      {"i + f", Kind::kDouble},
      {"i / 1", Kind::kDouble},
      {"i + s", Kind::kText},
      {"mixed + 1", kNumbers | KindSet(Kind::kText)},
      {"mixed * 2", kNumbers},
      {"mixed * f", Kind::kDouble},
      {"i < 3 && n", Kind::kBool},
      {"n ?? 3", kAnyKind},
      {"ni ?? 'none'", KindSet(Kind::kInt) | KindSet(Kind::kText)},
      {"coalesce(f, s)", KindSet(Kind::kDouble) | KindSet(Kind::kText)},
      {"min(i, f)", kNumbers},
      {"len(i)", Kind::kInt},
      {"toNumber(s)", kNumbers},
      {"toNumber(b)", Kind::kInt},
      {"null", KindSet()},
      {"age(s)", Kind::kDouble},
  };
  for (const auto& [text, kinds] : kCases) {
    CAPTURE(text);
    rig.Try(text);
    CHECK(rig.kinds() == kinds);
  }
}

TEST_CASE("length and depth are bounded when it is compiled") {
  UsualRig rig;
  std::string sum = "1";
  while (sum.size() + 2 <= 4096) sum += "+1";
  CHECK(rig.Try(sum) == std::to_string(sum.size() / 2 + 1));
  CHECK(rig.Try(sum + std::string(4097 - sum.size(), ' ')) == "1: the expression has 4097 bytes, more than 4096");
  const auto nested = [](int depth) {
    return std::string(static_cast<std::size_t>(depth), '(') + "i" + std::string(static_cast<std::size_t>(depth), ')');
  };
  CHECK(rig.Try(nested(64)) == "7");
  CHECK(rig.Try(nested(65)) == "65: nested deeper than 64");
  CHECK(rig.Try(std::string(64, '-') + "i") == "7");
  CHECK(rig.Try(std::string(65, '!') + "b") == "65: nested deeper than 64");
  std::string calls;
  for (int k = 0; k < 65; ++k) calls += "abs(";
  CHECK(rig.Try(calls + "i" + std::string(65, ')')) == "260: nested deeper than 64");
}

TEST_CASE("a row's budget is bounded when it runs") {
  UsualRig rig;
  const std::string text(300'000, 'x');
  rig.Set("large", Kind::kText, Value::Text(text));
  CHECK(rig.Try("len(large + large + large)") == "900000");
  CHECK(rig.context().budget_errors() == 0);
  CHECK(rig.Try("len(large + large + large + large)") == "null");
  CHECK(rig.context().budget_errors() == 1);
  // What was given up is not replaced.
  CHECK(rig.Try("len(upper(large) + upper(large) + 1) ?? 5") == "null");
  CHECK(rig.context().budget_errors() == 2);

  Diagnostics diagnostics;
  const auto expression = Expression::Compile("i+i+i+i+i+i+i+i+i+i+i", rig.columns(), "", diagnostics);
  REQUIRE(expression);
  rig.context().BeginRow();
  for (int k = 0; k < 1000; ++k) REQUIRE(expression->Evaluate(rig.row(), rig.context()).AsInt() == 77);
  CHECK(expression->Evaluate(rig.row(), rig.context()).IsNull());
  CHECK(rig.context().budget_errors() == 3);
  rig.context().BeginRow();
  CHECK(expression->Evaluate(rig.row(), rig.context()).AsInt() == 77);

  // Reading counts too.
  std::string searches = "contains(large,'y')";
  for (int k = 0; k < 50; ++k) searches += "||contains(large,'y')";
  CHECK(rig.Try(searches) == "null");
  CHECK(rig.context().budget_errors() == 4);
}

TEST_CASE("text that is not UTF-8 stays harmless") {
  UsualRig rig;
  rig.Set("bad", Kind::kText, Value::Text("a\xFF\xC3z\xE2\x82"));
  CheckAll(rig, {{"upper(bad)", "'A\xEF\xBF\xBD\xEF\xBF\xBDZ\xEF\xBF\xBD\xEF\xBF\xBD'"},
                 {"len(bad)", "6"},
                 {"substr(bad, 1, 2)", "'\xFF\xC3'"}});
}

TEST_CASE("rows that are not what their columns say do no harm") {
  ExpressionRig rig;
  rig.Set("x", Kind::kInt, Value::Text("seven")).Set("t", Kind::kText, Value::Double(1.5));
  for (const char* text : {"x * 2", "x < 3", "x + 1", "x % 2 == 0", "round(x)", "t + x + '!'", "age(t)", "x && t"}) {
    CAPTURE(text);
    Diagnostics diagnostics;
    const auto expression = Expression::Compile(text, rig.columns(), "", diagnostics);
    REQUIRE(expression);
    rig.context().BeginRow();
    expression->Evaluate(rig.row(), rig.context());
  }
}

TEST_CASE("references of an expression") {
  CHECK(Expression::References("a + round(b, a) * len(c) ?? d") == std::vector<std::string>{"a", "b", "c", "d"});
  CHECK(Expression::References("'a' + True").empty());
  CHECK(Expression::References("a +").empty());
  CHECK(Expression::References("").empty());
}

TEST_CASE("an expression can be copied and outlives its text") {
  UsualRig rig;
  std::optional<Expression> copy;
  {
    std::string text = "'a long enough text of its own ' + upper('b') + s";
    Diagnostics diagnostics;
    const auto expression = Expression::Compile(text, rig.columns(), "", diagnostics);
    REQUIRE(expression);
    copy = *expression;
    text.assign(text.size(), 'x');
  }
  CHECK(Show(copy->Evaluate(rig.row(), rig.context())) == "'a long enough text of its own Bpvc-data'");
}

}  // namespace
}  // namespace clusterpulse::metricsource
