"""Clean processes: forked off a warm one they are as clean as fresh ones, and tell the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, nullcontext

import pytest

from export import clean, verify
from export.clean import kept_warm, run_python
from plugins.kinds import FORMATS

# Small packages in place of large ones.
LIGHT = {"email": ("email.message",), "http": ("http.server",), "wsgiref": ("wsgiref.simple_server",)}
ASK = "print(sorted(imported() & {'http', 'wsgiref', 'xml'}))"


@pytest.fixture(autouse=True)
def _light(monkeypatch):
    monkeypatch.setattr(clean, "WARM", LIGHT)


@contextmanager
def shelf(*packages):
    """Warm processes of this test's own, whatever the run keeps."""
    token = clean._KEPT.set(None)
    try:
        with kept_warm(packages or LIGHT):
            yield
    finally:
        clean._KEPT.reset(token)


@pytest.fixture(params=["cold", "warm"])
def way(request):
    """Either way to a clean process."""
    token = clean._KEPT.set(None)
    with kept_warm(LIGHT) if request.param == "warm" else nullcontext():
        yield request.param
    clean._KEPT.reset(token)


def run(script, *arguments, folder, packages=("wsgiref",), **environment):
    return run_python(script, arguments, folder, {**os.environ, **environment}, packages)


def test_it_knows_nothing_of_ours(way, tmp_path):
    ours = "print([name for name in sys.modules if name.split('.')[0] in sys.argv[1:]])"
    ended = run(f"import sys\n{ours}", "supernet", "export", "service", "pytest", folder=tmp_path)
    assert (ended.code, ended.out) == (0, "[]\n")


def test_it_has_the_folder_the_arguments_and_the_environment_that_were_asked_for(way, tmp_path):
    script = "import os, sys\nprint(os.getcwd(), sys.argv, os.environ['WINNOW_ASKED'], sys.flags.isolated)"
    ended = run(script, "one", "two", folder=tmp_path, WINNOW_ASKED="yes")
    assert ended.out == f"{tmp_path} ['-c', 'one', 'two'] yes 1\n"


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("raise ValueError('no such tensor')", 1, "ValueError: no such tensor"),
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('stopped')", 1, "stopped"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
    ],
)
def test_its_end_is_told(way, tmp_path, script, code, said):
    ended = run(script, folder=tmp_path)
    assert ended.code == code
    assert said in ended.err


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("", []),
        ("import http.server", ["http"]),
        # What it imports in its turn was imported beforehand, by nobody's statement of the script.
        ("from wsgiref import simple_server", ["http", "wsgiref"]),
        ("import xml.sax", ["xml"]),
    ],
)
def test_what_it_imports_itself_counts_as_imported(way, tmp_path, script, names):
    assert run(f"{script}\n{ASK}", folder=tmp_path, packages=("http", "wsgiref")).out == f"{names}\n"


def test_one_warm_process_serves_all_and_ends_with_the_block(tmp_path):
    parent = "import os\nprint(os.getppid())"
    with shelf():
        told = {run(parent, folder=tmp_path).out for _ in range(3)}
        (pid,) = map(int, told)
        assert pid != os.getpid()
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_has_imported_what_was_said_and_serves_whoever_needs_a_part_of_it(tmp_path):
    loaded = "import os, sys\nprint([name in sys.modules for name in ('http.server', 'email.message')], os.getppid())"
    with shelf("http"):
        warm = run(loaded, folder=tmp_path, packages=("http", "email")).out
        cold = run(loaded, folder=tmp_path, packages=("email",)).out
    assert warm.startswith("[True, True]")  # http imports email
    assert cold == f"[False, False] {os.getpid()}\n"


def test_what_several_files_import_whatever_the_network_is_is_imported_once(tmp_path):
    def shared(*names):
        return verify._shared([(FORMATS.load(name), tmp_path) for name in names])

    assert shared("safetensors") == set()
    assert shared("safetensors", "winnow") == {"torch", "safetensors"}
    assert shared("safetensors", "huggingface") == {"torch", "safetensors", "transformers"}
    assert shared("torch_export", "huggingface") == {"torch"}


def test_where_the_warm_process_has_died_a_fresh_one_answers(tmp_path):
    with shelf():
        pid = int(run("import os\nprint(os.getppid())", folder=tmp_path).out)
        os.kill(pid, signal.SIGKILL)
        assert run("print('still here')", folder=tmp_path).out == "still here\n"


def test_an_interpreter_of_its_own_is_never_warm(tmp_path):
    with shelf():
        ended = run_python(
            "import os\nprint(os.getppid())",
            (),
            tmp_path,
            os.environ,
            ("torch",),
            python=f"{sys.prefix}/bin/../bin/python",
        )
    assert int(ended.out) == os.getpid()


def test_a_process_with_threads_is_not_forked(tmp_path, monkeypatch):
    monkeypatch.setattr(clean, "WARM", {"wsgiref": ("threading",)})
    monkeypatch.setattr(
        clean,
        "SERVER",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()" + clean.SERVER,
    )
    with shelf():
        assert int(run("import os\nprint(os.getppid())", folder=tmp_path).out) == os.getpid()


def test_who_is_told_to_stop_leaves_no_child(tmp_path, monkeypatch):
    with shelf():
        pid = int(run("import os\nprint(os.getppid())", folder=tmp_path).out)
        (warm,) = clean._KEPT.get().processes.values()

        def stop():
            raise KeyboardInterrupt

        monkeypatch.setattr(warm, "_answer", stop)
        with pytest.raises(KeyboardInterrupt):
            run("import time\ntime.sleep(60)", folder=tmp_path)
        warm._process.wait(10)
    left = subprocess.run(["ps", "-o", "pid=", "-g", str(pid)], capture_output=True, text=True, check=False).stdout
    assert not left.strip()
