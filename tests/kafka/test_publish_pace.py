"""Replaying at the pace of the recording, by a clock that the tests hold."""

from collections.abc import Iterable

import pytest

from streamproc.kafka.publish.pace import Pace
from streamproc.kafka.publish.pieces import Piece, pieces_of
from streamproc.local.sources import Chunk

START = 1_700_000_000_000
TICK_S = 0.05


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= TICK_S
        self.now += seconds


def piece(times_ms: list[int | None], path: str = "a") -> Piece:
    """Lines with these times after `START`."""
    texts = (b"{}\n" if time is None else b'{"collected_at":%d}\n' % (START + time) for time in times_ms)
    data = b"".join(texts)
    (found,) = pieces_of(Chunk(bytearray(data), len(data), len(times_ms), path, 1, 0))
    return found


def given(pieces: Iterable[Piece | None], speed: float = 1.0) -> list[tuple[int, bytes]]:
    """When each line was given out, in ms since the first, and the line."""
    clock = Clock()
    lines = []
    for part in Pace(speed, TICK_S, clock.read, clock.sleep).through(pieces):
        if part is not None:
            lines += [(round(1000 * (clock.now - 100)), line) for line in bytes(part.content).splitlines()]
    return lines


def moments(pieces: Iterable[Piece | None], speed: float = 1.0) -> list[int]:
    return [moment for moment, _ in given(pieces, speed)]


@pytest.mark.parametrize("speed", [0.5, 1, 10])
def test_lines_come_when_they_are_due(speed: float) -> None:
    times: list[int | None] = [0, 100, 250, 250, 3000]
    found = given([piece(times)], speed)
    assert [line for _, line in found] == bytes(piece(times).content).splitlines()
    for (moment, _), time in zip(found, times, strict=True):
        assert time is not None
        assert time / speed - 1 <= moment <= time / speed + 1000 * TICK_S + 1


def test_the_pace_goes_on_over_pieces_and_files() -> None:
    found = moments([piece([0, 1000]), piece([2000]), None, piece([3000, 4000], "b")])
    assert found == pytest.approx([0, 1000, 2000, 3000, 4000], abs=2)


def test_a_file_recorded_at_the_same_time_begins_the_pace_anew() -> None:
    found = moments([piece([0, 1000, 2000]), piece([0, 1000], "b")])
    assert found == pytest.approx([0, 1000, 2000, 2000, 3000], abs=2)


def test_a_line_without_time_comes_with_the_one_before_it() -> None:
    assert moments([piece([None, 0, None, 1000, None])]) == pytest.approx([0, 0, 0, 1000, 1000], abs=2)
    assert moments([piece([None, None])]) == [0, 0]


@pytest.mark.parametrize("wrong", [-(10**11), 10**11])
@pytest.mark.parametrize("place", range(8))
def test_a_wrong_clock_holds_nothing_up_and_hurries_nothing(wrong: int, place: int) -> None:
    times: list[int | None] = [1000 * k for k in range(8)]
    times[place] = wrong
    found = moments([piece(times), piece([8000, 9000])])
    right = [1000 * k for k in range(10)]
    begun = 2000 if place == 0 else 0  # the pace begins with the median of the lines behind it
    del found[place], right[place]
    assert found == pytest.approx([max(0, time - begun) for time in right], abs=2)


def test_a_pause_of_the_recording_is_kept() -> None:
    found = moments([piece([0, 1000, 600_000, 601_000, 602_000])])
    assert found[-1] == pytest.approx(602_000, abs=60)


def test_what_lies_behind_by_a_slow_reader_comes_at_once() -> None:
    clock = Clock()
    pace = Pace(1.0, TICK_S, clock.read, clock.sleep)

    def slow() -> Iterable[Piece]:
        yield piece([0])
        clock.now += 60
        yield piece([1000, 2000, 61_000, 61_000])

    found = [(round(clock.now - 100), part.lines) for part in pace.through(slow()) if part is not None]
    assert found == [(0, 1), (60, 2), (61, 2)]
