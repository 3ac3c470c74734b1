"""Downloads end in the right file, or in one clear error: never in a wrong or half file."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import HASTE, Mirror, Server, code_of

from cnndsl.data.download import Patience, fetch, mirrors_from_environment
from cnndsl.diagnostics import CnndslError
from cnndsl.files import cache_folder

CONTENT = bytes(range(256)) * 800
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[:-1] + b"?"
NAME = "data.bin"


def get(folder: Path, *mirrors: Mirror, patience: Patience = HASTE, **options: Any) -> Path:
    options.setdefault("size", len(CONTENT))
    return fetch(NAME, [m.base for m in mirrors], DIGEST, folder, patience=patience, **options)


def arrived(folder: Path, path: Path) -> bool:
    """Whether the file is right and nothing but it (and the lock) is there."""
    others = {p.name for p in folder.iterdir()} - {NAME, f".{NAME}.lock"}
    return path == folder / NAME and path.read_bytes() == CONTENT and not others


def failure(folder: Path, *mirrors: Mirror, **options: Any) -> str:
    """The message of the one error in which the download must end, without a final file."""
    with pytest.raises(CnndslError) as caught:
        get(folder, *mirrors, **options)
    assert code_of(caught) == "D0409"
    assert not (folder / NAME).exists()
    help_text = caught.value.diagnostics[0].help
    assert help_text is not None
    assert "--data-dir" in help_text
    for mirror in mirrors:
        assert f"{mirror.base}/{NAME}: " in str(caught.value)
    return str(caught.value)


def ranges(mirror: Mirror) -> list[str | None]:
    return [request.get("Range") for request in mirror.requests]


def test_a_healthy_mirror_gives_the_file_and_progress(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(CONTENT)
    seen: list[tuple[int, int | None, str]] = []
    path = get(tmp_path / "new" / "folder", mirror, progress=lambda *now: seen.append(now))
    assert arrived(tmp_path / "new" / "folder", path)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT), f"{mirror.base}/{NAME}")


def test_a_file_that_is_there_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(CONTENT)
    get(tmp_path, mirror)
    get(tmp_path, mirror)
    assert len(mirror.requests) == 1


def test_a_cut_connection_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(CONTENT, cuts=[50_000, 70_000])
    assert arrived(tmp_path, get(tmp_path, mirror))
    assert ranges(mirror) == [None, "bytes=50000-", "bytes=120000-"]
    assert mirror.requests[1]["If-Range"] == '"v1"'


def test_md5_serves_as_a_digest(server: Server, tmp_path: Path) -> None:
    digest = "md5:" + hashlib.md5(CONTENT).hexdigest().upper()
    mirror = server.mirror(CONTENT)
    assert arrived(tmp_path, fetch(NAME, [mirror.base + "/"], digest, tmp_path))


def test_a_later_run_goes_on_from_the_part(server: Server, tmp_path: Path) -> None:
    broken = server.mirror(CONTENT, cuts=[60_000], after_answer=lambda m: m.statuses.append(404))
    failure(tmp_path, broken)
    assert (tmp_path / f"{NAME}.part").stat().st_size == 60_000
    whole = server.mirror(CONTENT)
    assert arrived(tmp_path, get(tmp_path, whole))
    assert ranges(whole) == ["bytes=60000-"]


@pytest.mark.parametrize("marks", [(None, None), ('W/"weak"', None), (None, "some date")])
def test_resuming_needs_no_etag(
    server: Server, tmp_path: Path, marks: tuple[str | None, str | None]
) -> None:
    mirror = server.mirror(CONTENT, etag=marks[0], modified=marks[1], cuts=[50_000])
    assert arrived(tmp_path, get(tmp_path, mirror))
    assert ranges(mirror) == [None, "bytes=50000-"]
    assert mirror.requests[1].get("If-Range") == marks[1]


def test_a_server_that_ignores_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(CONTENT, ranges=False, cuts=[50_000, 120_000])
    assert arrived(tmp_path, get(tmp_path, mirror))
    assert len(mirror.requests) == 3


def test_a_server_that_ignores_ranges_and_always_cuts_is_given_up(
    server: Server, tmp_path: Path
) -> None:
    mirror = server.mirror(CONTENT, ranges=False, cuts=[50_000] * 50)
    assert "cut after 50,000 of 204,800 bytes" in failure(tmp_path, mirror)
    assert len(mirror.requests) <= 2 * HASTE.rounds


def _becomes(content: bytes, etag: str | None) -> Callable[[Mirror], None]:
    def change(mirror: Mirror) -> None:
        mirror.content, mirror.etag, mirror.after_answer = content, etag, None

    return change


@pytest.mark.parametrize("honours", [True, False])
def test_a_file_that_changes_between_two_answers_is_taken_afresh(
    server: Server, tmp_path: Path, honours: bool
) -> None:
    mirror = server.mirror(
        bytes(len(CONTENT)),
        cuts=[50_000],
        honours_if_range=honours,
        after_answer=_becomes(CONTENT, '"v2"'),
    )
    assert arrived(tmp_path, get(tmp_path, mirror))
    assert ranges(mirror)[1] == "bytes=50000-"


def test_a_file_that_changes_its_size_only_is_noticed(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(CONTENT + b"tail", cuts=[50_000], after_answer=_becomes(CONTENT, '"v1"'))
    assert arrived(tmp_path, get(tmp_path, mirror, size=None))


def test_a_file_that_shrinks_below_the_part_is_taken_afresh(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(
        CONTENT * 2, cuts=[len(CONTENT) + 1], after_answer=_becomes(CONTENT, '"v1"')
    )
    assert arrived(tmp_path, get(tmp_path, mirror, size=None))
    assert len(mirror.requests) == 3


def test_a_truncated_file_of_an_honest_length_is_refused(server: Server, tmp_path: Path) -> None:
    short, good = server.mirror(CONTENT[:1000]), server.mirror(CONTENT)
    assert arrived(tmp_path, get(tmp_path, short, good))
    message = failure(tmp_path / "alone", server.mirror(CONTENT[:1000]))
    assert "1,000 bytes, not 204,800" in message


def test_a_truncated_file_of_unknown_length_is_refused(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(CONTENT[:100_000], declares_length=False)
    assert "wrong SHA256" in failure(tmp_path, mirror, size=None)
    assert not list(tmp_path.glob("*.part*"))


def test_wrong_bytes_are_removed_and_the_next_mirror_asked(server: Server, tmp_path: Path) -> None:
    liar, good = server.mirror(OTHER), server.mirror(CONTENT)
    assert arrived(tmp_path, get(tmp_path, liar, good))
    assert len(liar.requests) == 1
    assert ranges(good) == [None]


def test_a_liar_alone_ends_in_an_error(server: Server, tmp_path: Path) -> None:
    liar = server.mirror(OTHER)
    assert "wrong SHA256" in failure(tmp_path, liar)
    assert len(liar.requests) == 1
    assert not list(tmp_path.glob("*.part*"))


def test_a_liar_that_also_cuts_ends_in_an_error(server: Server, tmp_path: Path) -> None:
    liar = server.mirror(OTHER, cuts=[50_000, 200_000, 50_000, 200_000, 50_000])
    assert "wrong SHA256" in failure(tmp_path, liar)
    assert len(liar.requests) == 4


def test_bytes_of_a_liar_do_not_spoil_an_honest_mirror(server: Server, tmp_path: Path) -> None:
    liar = server.mirror(b"?" * len(CONTENT), cuts=[50_000], statuses=[200, 503, 503, 503])
    good = server.mirror(CONTENT)
    assert arrived(tmp_path, get(tmp_path, liar, good))
    assert ranges(good) == ["bytes=50000-", None]


def test_an_html_page_in_place_of_the_file_is_refused(server: Server, tmp_path: Path) -> None:
    page = server.mirror(b"<html>please log in</html>")
    assert "bytes, not" in failure(tmp_path, page)


def test_the_next_mirror_resumes_what_the_first_began(server: Server, tmp_path: Path) -> None:
    first = server.mirror(CONTENT, cuts=[50_000], statuses=[200, 503])
    second = server.mirror(CONTENT, etag='"elsewhere"')
    assert arrived(tmp_path, get(tmp_path, first, second))
    assert ranges(second) == ["bytes=50000-"]
    assert "If-Range" not in second.requests[0]


def test_missing_files_are_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    gone = server.mirror(CONTENT, statuses=[404] * 9)
    busy = server.mirror(CONTENT, statuses=[500] * 9)
    message = failure(tmp_path, gone, busy)
    assert "404 Not Found" in message
    assert "500 Internal Server Error" in message
    assert (len(gone.requests), len(busy.requests)) == (1, HASTE.rounds)


def test_a_server_that_recovers_is_asked_again(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(CONTENT, statuses=[503, 500])
    assert arrived(tmp_path, get(tmp_path, mirror))


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    absent = Mirror("http://127.0.0.1:9", b"")
    assert "refused" in failure(tmp_path, absent)


@pytest.mark.parametrize("base", ["ftp://host/x", "file:///etc", "nonsense", "http://[::1"])
def test_only_proper_web_addresses_are_asked(tmp_path: Path, base: str) -> None:
    failure(tmp_path, Mirror(base, b""))


def test_no_mirror_at_all_is_an_error(tmp_path: Path) -> None:
    assert "there is none" in failure(tmp_path)


def test_a_silent_server_is_left_after_the_timeout(server: Server, tmp_path: Path) -> None:
    silent = server.mirror(CONTENT, chunk=50_000, seconds_a_chunk=1.0)
    good = server.mirror(CONTENT)
    patience = Patience(rounds=1, timeout=0.1)
    assert arrived(tmp_path, get(tmp_path, silent, good, patience=patience))


def test_a_slow_mirror_gives_way_to_a_faster_one(server: Server, tmp_path: Path) -> None:
    slow = server.mirror(CONTENT, seconds_a_chunk=0.02)
    fast = server.mirror(CONTENT)
    patience = Patience(rounds=2, rest=0.01, warm_up=0.1, rate=10_000_000)
    assert arrived(tmp_path, get(tmp_path, slow, fast, patience=patience))
    assert ranges(fast)[0] is not None


def test_a_slow_mirror_is_used_when_the_others_fail(server: Server, tmp_path: Path) -> None:
    slow = server.mirror(CONTENT, seconds_a_chunk=0.005)
    gone = server.mirror(CONTENT, statuses=[404] * 9)
    patience = Patience(rounds=2, rest=0.01, warm_up=0.05, rate=10_000_000)
    assert arrived(tmp_path, get(tmp_path, slow, gone, patience=patience))
    assert len(slow.requests) == 2


def test_a_part_of_unknown_origin_is_not_trusted(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"?" * 1000)
    mirror = server.mirror(CONTENT)
    assert arrived(tmp_path, get(tmp_path, mirror))
    assert ranges(mirror) == [None]


def test_a_whole_part_is_checked_and_used(server: Server, tmp_path: Path) -> None:
    first = server.mirror(CONTENT, cuts=[60_000], after_answer=lambda m: m.statuses.append(404))
    failure(tmp_path, first)
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    unused = server.mirror(CONTENT)
    assert arrived(tmp_path, get(tmp_path, unused))
    assert unused.requests == []


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CnndslError) as caught:
        get(tmp_path / "file" / "cache", server.mirror(CONTENT))
    assert code_of(caught) == "D0411"
    assert "CNNDSL_CACHE" in str(caught.value.diagnostics[0].help)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_error_and_not_the_mirrors_fault(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnndsl.data import transfer

    def start(part: transfer.Part, origin: transfer.Origin) -> None:
        part.path.symlink_to("/dev/full")

    monkeypatch.setattr(transfer.Part, "start", start)
    mirror = server.mirror(CONTENT)
    with pytest.raises(CnndslError) as caught:
        get(tmp_path, mirror)
    assert code_of(caught) == "D0411"
    assert "No space left" in str(caught.value)
    assert len(mirror.requests) == 1


SCRIPT = """
import sys
from pathlib import Path
from cnndsl.data.download import fetch
print("started", flush=True)
print(fetch(sys.argv[1], [sys.argv[2]], sys.argv[3], Path(sys.argv[4])), flush=True)
"""


def start_process(mirror: Mirror, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, NAME, mirror.base, DIGEST, str(folder)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_processes_download_once(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(CONTENT, seconds_a_chunk=0.02)
    both = [start_process(mirror, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=20)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(str(tmp_path / NAME) in output for output in outputs)
    assert arrived(tmp_path, tmp_path / NAME)
    assert len(mirror.requests) == 1


def test_threads_of_one_process_download_once(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(CONTENT, seconds_a_chunk=0.005)
    threads = [threading.Thread(target=get, args=(tmp_path, mirror)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert arrived(tmp_path, tmp_path / NAME)
    assert len(mirror.requests) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_leaves_what_the_next_resumes(server: Server, tmp_path: Path) -> None:
    mirror = server.mirror(CONTENT, seconds_a_chunk=0.05)
    process = start_process(mirror, tmp_path)
    part = tmp_path / f"{NAME}.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 20_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / NAME).exists()
    mirror.seconds_a_chunk = 0
    assert arrived(tmp_path, get(tmp_path, mirror))
    assert str(ranges(mirror)[1]).startswith("bytes=")


def test_without_locks_each_process_has_its_own_part(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnndsl.data import download

    def refuse(descriptor: int) -> None:
        raise OSError("no locks")

    monkeypatch.setattr(download, "_lock", refuse)
    broken = server.mirror(CONTENT, cuts=[60_000], after_answer=lambda m: m.statuses.append(404))
    failure(tmp_path, broken)
    assert (tmp_path / f"{NAME}.{os.getpid()}.part").exists()
    assert arrived(tmp_path, get(tmp_path, server.mirror(CONTENT)))


def test_the_cache_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("CNNDSL_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("CNNDSL_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "cnndsl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == Path.home() / ".cache" / "cnndsl"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "cnndsl"


def test_mirrors_come_from_the_environment_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNDSL_MIRRORS", " http://a/x , ,http://b")
    assert mirrors_from_environment(["http://c"]) == ("http://a/x", "http://b")
    monkeypatch.setenv("CNNDSL_MIRRORS", "")
    assert mirrors_from_environment(["http://c"]) == ("http://c",)
