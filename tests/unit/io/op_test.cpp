#include "millrace/io/op.hpp"

#include <doctest/doctest.h>

namespace millrace::io {

TEST_CASE("a tag keeps its four parts apart") {
  const OpTag tag(OpKind::watch, 3, 0xffffff, 0xffffffffU);
  CHECK(tag.kind() == OpKind::watch);
  CHECK(tag.side() == 3);
  CHECK(tag.generation() == 0xffffff);
  CHECK(tag.slot() == 0xffffffffU);
  const OpTag low(OpKind::recv, 0, 0, 0);
  CHECK(low.kind() == OpKind::recv);
  CHECK(low.side() == 0);
  CHECK(low.generation() == 0);
  CHECK(low.slot() == 0);
}

TEST_CASE("a part that is too wide does not spill into its neighbours") {
  const OpTag tag(OpKind::send, 7, 0x1000001, 5);
  CHECK(tag.kind() == OpKind::send);
  CHECK(tag.side() == 3);
  CHECK(tag.generation() == 1);
  CHECK(tag.slot() == 5);
}

TEST_CASE("a tag survives the trip through user_data") {
  const OpTag tag(OpKind::splice_out, 1, 77, 123456);
  CHECK(OpTag::from_word(tag.word()) == tag);
  CHECK_FALSE(tag == OpTag(OpKind::splice_in, 1, 77, 123456));
}

TEST_CASE("a tag reads well in a log") {
  CHECK(OpTag(OpKind::recv, 1, 7, 42).to_string() == "recv side=1 slot=42 generation=7");
  CHECK(OpTag(OpKind::watch, 0, 1, 2).to_string() == "watch side=0 slot=2 generation=1");
  CHECK(OpTag().to_string() == "none side=0 slot=0 generation=0");
  CHECK(OpTag(static_cast<OpKind>(40), 0, 0, 9).to_string() == "kind40 side=0 slot=9 generation=0");
}

}  // namespace millrace::io
