"""Which file is which, and how far it is published: over growth, rotation, damage and restarts."""

import gzip
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamproc.errors import DataError, UsageError
from streamproc.kafka.publish import files as files_module
from streamproc.kafka.publish.files import Follower, read_once
from streamproc.kafka.publish.inputs import Inputs
from streamproc.kafka.publish.progress import FileProgress, KnownFiles
from streamproc.local.inputs import Source
from streamproc.observe.progress import QuietProgress

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINES = [b'{"exchange":"x","symbol":"A","n":%d,"pad":"%s"}\n' % (n, b"p" * 200) for n in range(100)]
CHUNK = 1 << 12


class Committed:
    """A publisher that ends whenever it is asked for, and what it has committed: lines and progress together."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.records: dict[str, FileProgress] = {}

    def known(self) -> KnownFiles:
        return KnownFiles([FileProgress.loads(record.dumps()) for record in self.records.values()])

    def run(self, *inputs: Path | str, most: int = 10**9) -> int:
        """Publish once, or until so many lines are taken; how many there were."""
        known = self.known()
        given = Inputs([*map(str, inputs)])
        before = len(self.lines)
        sources = [*known.renamed(given.covers), *given.sources()]
        for source in sources:
            for piece in read_once(source, known, CHUNK, QuietProgress()):
                part = piece.part(0, min(piece.lines, most - len(self.lines) + before))
                assert part.place is not None
                part.place.advance(part.content, part.offset, part.next_line)
                self.lines += bytes(part.content).splitlines(keepends=True)
                if len(self.lines) - before == most:
                    self.commit(known)
                    return most
        self.commit(known)
        return len(self.lines) - before

    def commit(self, known: KnownFiles) -> None:
        for record in known.changes():
            self.records.pop(record.file, None)
            self.records[record.file] = record


@pytest.fixture
def committed() -> Committed:
    return Committed()


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def append(path: Path, lines: list[bytes]) -> None:
    with path.open("ab") as file:
        file.writelines(lines)


class TestGoingOn:
    @pytest.mark.parametrize("most", [1, 7, 33])
    def test_in_pieces_of_any_size_each_line_comes_once(self, tmp_path: Path, committed: Committed, most: int) -> None:
        path = write(tmp_path / "a.ndjson", LINES)
        while committed.run(path, most=most):
            pass
        assert committed.lines == LINES

    @pytest.mark.parametrize("suffix", [".gz", ".zst"])
    def test_packed_files_go_on_by_their_content(self, tmp_path: Path, committed: Committed, suffix: str) -> None:
        path = tmp_path / f"a.ndjson{suffix}"
        path.write_bytes(_packed(b"".join(LINES[:50]), suffix))
        committed.run(path, most=20)
        path.write_bytes(_packed(b"".join(LINES), suffix))
        committed.run(path)
        assert committed.lines == LINES

    def test_a_file_that_is_taken_in_is_not_read_again(self, tmp_path: Path, committed: Committed) -> None:
        path = write(tmp_path / "a.ndjson", LINES)
        committed.run(path)
        status = path.stat()
        with path.open("r+b") as file:
            file.write(b"x")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert committed.run(path) == 0

    def test_growth_is_taken(self, tmp_path: Path, committed: Committed) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:10])
        committed.run(path)
        append(path, LINES[10:])
        committed.run(path)
        assert committed.lines == LINES

    def test_a_byte_order_mark_is_passed_over_and_counts(self, tmp_path: Path, committed: Committed) -> None:
        path = write(tmp_path / "a.ndjson", [b"\xef\xbb\xbf", *LINES])
        while committed.run(path, most=30):
            pass
        assert committed.lines == LINES

    def test_an_unterminated_object_is_taken_and_its_newline_later_is_no_line(
        self, tmp_path: Path, committed: Committed
    ) -> None:
        path = write(tmp_path / "a.ndjson", [LINES[0], LINES[1].rstrip()])
        committed.run(path)
        append(path, [b"\n", LINES[2]])
        committed.run(path)
        assert b"".join(committed.lines) == b"".join(LINES[:3])

    def test_an_unterminated_line_that_is_no_object_waits(self, tmp_path: Path, committed: Committed) -> None:
        path = write(tmp_path / "a.ndjson", [LINES[0], LINES[1][:50]])
        assert committed.run(path) == 1
        append(path, [LINES[1][50:]])
        assert committed.run(path) == 1
        assert committed.lines == LINES[:2]


class TestNames:
    def test_a_renamed_file_is_followed_and_the_one_in_its_place_is_new(
        self, tmp_path: Path, committed: Committed
    ) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:40])
        committed.run(path, most=20)
        append(path, LINES[40:50])
        path.rename(tmp_path / "a.ndjson.1")
        write(path, LINES[50:])
        committed.run(path)
        assert committed.lines == LINES

    def test_one_whose_place_is_empty_is_found_too(self, tmp_path: Path, committed: Committed) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:40])
        write(tmp_path / "b.ndjson", LINES[40:])
        committed.run(tmp_path, most=20)
        path.rename(tmp_path / "z.old")
        committed.run(tmp_path)
        assert committed.lines == LINES

    def test_several_rotations_between_two_runs(self, tmp_path: Path, committed: Committed) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:20])
        committed.run(path, most=10)
        path.rename(tmp_path / "a.ndjson.1")
        write(path, LINES[20:30])
        committed.run(path, most=15)
        (tmp_path / "a.ndjson.1").rename(tmp_path / "a.ndjson.2")
        path.rename(tmp_path / "a.ndjson.1")
        write(path, LINES[30:])
        committed.run(path)
        assert committed.lines == LINES

    @pytest.mark.parametrize("suffix", [".gz", ".zst"])
    def test_a_file_that_was_packed_is_that_file(self, tmp_path: Path, committed: Committed, suffix: str) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:40])
        committed.run(tmp_path, most=20)
        (tmp_path / f"a.ndjson{suffix}").write_bytes(_packed(b"".join(LINES[:40]), suffix))
        path.unlink()
        write(tmp_path / "b.ndjson", LINES[40:])
        committed.run(tmp_path)
        assert committed.lines == LINES

    def test_one_that_was_rotated_and_packed_is_found_beside_its_place(
        self, tmp_path: Path, committed: Committed
    ) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:40])
        committed.run(path, most=20)
        (tmp_path / "a.ndjson.1.gz").write_bytes(gzip.compress(b"".join(LINES[:40])))
        path.unlink()
        write(path, LINES[40:])
        committed.run(path)
        assert committed.lines == LINES

    def test_a_copy_beside_its_original_is_a_file_of_its_own(self, tmp_path: Path, committed: Committed) -> None:
        path = write(tmp_path / "a.ndjson", LINES)
        committed.run(path)
        shutil.copy(path, tmp_path / "b.ndjson")
        assert committed.run(tmp_path) == len(LINES)

    def test_a_file_that_takes_the_place_of_another_is_new(self, tmp_path: Path, committed: Committed) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:50])
        committed.run(path)
        os.replace(write(tmp_path / "other", LINES[50:]), path)
        committed.run(path)
        assert committed.lines == LINES

    def test_a_new_file_with_the_inode_of_another_is_new(self, tmp_path: Path, committed: Committed) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:50])
        committed.run(path)
        with path.open("r+b") as file:  # as if the inode had been given to it
            file.truncate()
            file.writelines(LINES[50:])
        committed.run(path)
        assert committed.lines == LINES

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_so_is_a_short_one_made_after_it_was_deleted(
        self, tmp_path: Path, committed: Committed, count: int
    ) -> None:
        path = write(tmp_path / "a.ndjson", [b'{"first":%d}\n' % k for k in range(20)])
        before = committed.run(path)
        path.unlink()
        write(path, LINES[:count])
        committed.run(path)
        assert committed.lines[before:] == LINES[:count]

    def test_known_files_of_other_inputs_are_left_alone(self, tmp_path: Path, committed: Committed) -> None:
        (tmp_path / "one").mkdir()
        path = write(tmp_path / "one" / "a.ndjson", LINES[:40])
        committed.run(path, most=20)
        path.rename(tmp_path / "one" / "b")
        other = write(tmp_path / "c.ndjson", LINES[50:])
        committed.run(other)
        assert committed.lines == LINES[:20] + LINES[50:]


class TestDamage:
    @pytest.mark.parametrize("left", [0, 100, 5000, 7000])
    def test_a_file_that_was_cut_is_refused(self, tmp_path: Path, committed: Committed, left: int) -> None:
        path = write(tmp_path / "a.ndjson", LINES)
        committed.run(path, most=50)
        os.truncate(path, left)
        with pytest.raises(DataError, match=r"a\.ndjson: no longer holds the [\d,]+ bytes that were published") as told:
            committed.run(path)
        assert "cp FILE NEW" in told.value.hint

    def test_what_the_hint_says_makes_it_a_new_file(self, tmp_path: Path, committed: Committed) -> None:
        path = write(tmp_path / "a.ndjson", LINES)
        committed.run(path, most=50)
        os.truncate(path, sum(map(len, LINES[:30])))
        shutil.copy(path, tmp_path / "new")
        os.replace(tmp_path / "new", path)
        assert committed.run(path) == 30

    def test_a_file_that_was_rewritten_behind_its_beginning_is_refused(
        self, tmp_path: Path, committed: Committed
    ) -> None:
        path = write(tmp_path / "a.ndjson", LINES)
        committed.run(path, most=50)
        with path.open("r+b") as file:
            file.seek(sum(map(len, LINES[:49])))
            file.write(b"?")
        with pytest.raises(DataError, match="cut or rewritten"):
            committed.run(path)


class Follow:
    """A follower, stepped pass by pass."""

    def __init__(self, committed: Committed, *inputs: Path | str) -> None:
        self.committed = committed
        self.known = committed.known()
        self.now = 0.0
        self.follower = Follower(Inputs([*map(str, inputs)]), self.known, CHUNK, QuietProgress(), lambda: self.now)
        self.pieces = self.follower.pieces()

    def look(self, seconds: float = 10.0) -> int:
        """One pass, and commit; how many lines came."""
        self.now += seconds
        before = len(self.committed.lines)
        while (piece := next(self.pieces)) is not None:
            assert piece.place is not None
            piece.place.advance(piece.content, piece.offset, piece.next_line)
            self.committed.lines += bytes(piece.content).splitlines(keepends=True)
        self.committed.commit(self.known)
        return len(self.committed.lines) - before

    def close(self) -> None:
        self.follower.close()


@pytest.fixture
def restarted(committed: Committed) -> Iterator[list[Follow]]:
    """Followers that a test has begun; closed at its end."""
    begun: list[Follow] = []
    yield begun
    for follow in begun:
        follow.close()


class TestFollowing:
    def test_files_grow_and_appear(self, tmp_path: Path, committed: Committed, restarted: list[Follow]) -> None:
        follow = Follow(committed, tmp_path)
        restarted.append(follow)
        assert follow.look() == 0
        path = write(tmp_path / "a.ndjson", LINES[:10])
        assert follow.look() == 10
        append(path, LINES[10:20])
        assert follow.look(0.01) == 10
        write(tmp_path / "b.ndjson", LINES[20:])
        assert follow.look() == 80
        assert committed.lines == LINES

    def test_an_unterminated_line_waits_though_it_is_an_object(
        self, tmp_path: Path, committed: Committed, restarted: list[Follow]
    ) -> None:
        path = write(tmp_path / "a.ndjson", [LINES[0], LINES[1].rstrip()])
        follow = Follow(committed, path)
        restarted.append(follow)
        assert follow.look() == 1
        append(path, [b"\n"])
        assert follow.look() == 1
        assert committed.lines == LINES[:2]

    def test_a_rotated_file_is_read_to_its_end_before_its_successor(
        self, tmp_path: Path, committed: Committed, restarted: list[Follow]
    ) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:10])
        follow = Follow(committed, path)
        restarted.append(follow)
        follow.look()
        append(path, LINES[10:20])
        path.rename(tmp_path / "a.ndjson.1")
        append(tmp_path / "a.ndjson.1", LINES[20:30])
        write(path, LINES[30:40])
        follow.look()
        append(path, LINES[40:])
        follow.look()
        assert committed.lines == LINES

    def test_a_deleted_file_is_read_to_its_end_and_its_inode_may_come_again(
        self, tmp_path: Path, committed: Committed, restarted: list[Follow]
    ) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:10])
        follow = Follow(committed, path)
        restarted.append(follow)
        follow.look()
        append(path, LINES[10:20])
        path.unlink()
        assert follow.look() == 10
        inode = next(iter(committed.records.values())).inode
        assert inode == 0
        write(path, LINES[20:22])
        assert follow.look() == 2

    def test_a_restart_between_rotation_and_the_new_file(
        self, tmp_path: Path, committed: Committed, restarted: list[Follow]
    ) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:10])
        restarted.append(Follow(committed, path))
        restarted[0].look()
        append(path, LINES[10:20])
        path.rename(tmp_path / "a.ndjson.1")
        restarted.append(Follow(committed, path))
        assert restarted[1].look() == 10
        write(path, LINES[20:])
        assert restarted[1].look() == 80
        assert committed.lines == LINES

    @pytest.mark.parametrize("left", [0, 1000])
    def test_a_file_that_is_cut_is_an_error(
        self, tmp_path: Path, committed: Committed, restarted: list[Follow], left: int
    ) -> None:
        path = write(tmp_path / "a.ndjson", LINES)
        follow = Follow(committed, path)
        restarted.append(follow)
        follow.look()
        os.truncate(path, left)
        with pytest.raises(DataError, match="cut or rewritten"):
            follow.look()

    def test_so_is_one_that_was_cut_and_has_grown_beyond(
        self, tmp_path: Path, committed: Committed, restarted: list[Follow]
    ) -> None:
        path = write(tmp_path / "a.ndjson", LINES[:10])
        follow = Follow(committed, path)
        restarted.append(follow)
        follow.look()
        path.write_bytes(b"".join(LINES[30:]))
        with pytest.raises(DataError, match="cut or rewritten"):
            follow.look()

    def test_many_files_are_not_all_held_open(
        self, tmp_path: Path, committed: Committed, restarted: list[Follow], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files_module, "MAX_OPEN", 3)
        paths = [write(tmp_path / f"{k}.ndjson", LINES[k : k + 1]) for k in range(20)]
        before = len(os.listdir("/proc/self/fd"))
        follow = Follow(committed, tmp_path)
        restarted.append(follow)
        assert follow.look() == 20
        assert len(os.listdir("/proc/self/fd")) < before + 10
        for k, path in enumerate(paths):
            append(path, LINES[20 + k : 21 + k])
        assert follow.look() == 20
        assert follow.look() == 0
        assert sorted(committed.lines) == sorted(LINES[:40])

    def test_a_packed_file_that_is_being_written(
        self, tmp_path: Path, committed: Committed, restarted: list[Follow]
    ) -> None:
        content = gzip.compress(b"".join(LINES))
        path = tmp_path / "a.ndjson.gz"
        path.write_bytes(content[: len(content) // 2])
        follow = Follow(committed, tmp_path)
        restarted.append(follow)
        follow.look()
        path.write_bytes(content)
        follow.look()
        assert committed.lines == LINES

    def test_what_is_no_file_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(UsageError, match="named pipe"):
            Inputs([str(tmp_path / "pipe")]).sources_so_far()


@pytest.mark.parametrize(
    ("text", "path", "covered"),
    [
        ("/in", "/in/a.ndjson", True),
        ("/in", "/in/b/a.ndjson", True),
        ("/in", "/inner/a.ndjson", False),
        ("/in/*.ndjson", "/in/a.ndjson", True),
        ("/in/*.ndjson", "/in/a.json", False),
        ("/in/a.ndjson", "/in/a.ndjson", True),
        ("/in/a.ndjson", "/in/a.ndjson.1", False),
        ("-", "/in/a.ndjson", False),
    ],
)
def test_what_belongs_to_the_inputs(tmp_path: Path, text: str, path: str, covered: bool) -> None:
    (tmp_path / "in").mkdir()
    given = text if text == "-" else f"{tmp_path}{text}"
    assert Inputs([given]).covers(f"{tmp_path}{path}") is covered


def test_progress_is_what_it_was_when_it_is_read_back(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ndjson", LINES)
    known = KnownFiles([])
    for piece in read_once(Source(str(path)), known, CHUNK, QuietProgress()):
        assert piece.place is not None
        piece.place.advance(piece.content, piece.offset, piece.next_line)
    (record,) = known.changes()
    assert FileProgress.loads(record.dumps()) == record
    assert (record.offset, record.line) == (path.stat().st_size, len(LINES) + 1)
    assert known.changes() == []


def _packed(content: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(content)
    return zstd.compress(content)
