"""Progress of what is counted: a bar on a terminal, lines elsewhere, nothing for what is quick."""

import io

from tlearn.runs.counted import Counted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream, *told, **options):
    with Counted("documents", stream=stream, **options) as progress:
        for done, count in told:
            progress(done, count)
    return stream.getvalue()


def test_lines_where_there_is_no_terminal():
    told = [(1, 2), (2, 2), (1200, 0)]
    lines = shown(io.StringIO(), *told, every_s=0.0).splitlines()
    assert lines == ["documents: 1 of 2", "documents: 2 of 2", "documents: 1,200"]


def test_a_bar_where_there_is_a_terminal_and_another_where_the_count_begins_anew():
    text = shown(Terminal(), (7, 9), (9, 9), every_s=0.0)
    assert "documents" in text
    assert "9/9" in text
    text = shown(Terminal(), (7, 9), (5, 0), (8, 0), (2, 0), every_s=0.0)
    assert "7/9" in text
    assert "8/?" in text
    assert "2/?" in text


def test_nothing_is_shown_of_what_is_quick_nor_where_quiet_is_asked_for():
    for stream in (io.StringIO(), Terminal()):
        assert not shown(stream, (1, 2), (2, 2))
        assert not shown(stream, (1, 2), (2, 2), every_s=0.0, quiet=True)
