from hypothesis import given
from hypothesis import strategies as st

from breakeven.wire.sse import EventSplitter, encode_event, event_data

payloads = st.lists(
    st.binary(min_size=1, max_size=200).filter(lambda data: b"\n" not in data and b"\r" not in data), max_size=8
)


@given(payloads, st.lists(st.integers(1, 50)), st.booleans())
def test_events_survive_any_cut_of_the_stream(data: list[bytes], cuts: list[int], crlf: bool) -> None:
    stream = b"".join(encode_event(item) for item in data)
    if crlf:
        stream = stream.replace(b"\n", b"\r\n")
    splitter, events, rest = EventSplitter(), [], stream
    for cut in [*cuts, max(1, len(stream))]:
        events += splitter.feed(rest[:cut])
        rest = rest[cut:]
    events += splitter.feed(rest)
    assert [event_data(event) for event in events] == data
    assert splitter.rest == b""


def test_an_event_without_its_blank_line_is_not_delivered() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: one\n\ndata: tw") == [b"data: one\n\n"]
    assert splitter.feed(b"o\n\n") == [b"data: two\n\n"]


def test_comments_carry_no_data() -> None:
    assert event_data(b": still loading\n\n") is None


def test_several_data_lines_are_one_text() -> None:
    assert event_data(b"event: x\ndata: a\ndata: b\n\n") == b"a\nb"
