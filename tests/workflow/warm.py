"""Steps started warm: forked from a process that has loaded the libraries, but nothing of ours.

Of each step the first job of all tests is started as it is without this, so that every step is
seen to start by itself; what follows saves the seconds that torch and transformers take to load.
Commands, settings, output, records and exit statuses are those of the jobs themselves. Not for runs
that are killed: the processes are no children of the run's.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

LIBRARIES = (
    *("numpy", "pandas", "pyarrow.parquet", "pyarrow.dataset", "pydantic", "psutil", "scipy.stats"),
    *("torch", "transformers.trainer", "transformers.models.olmo.modeling_olmo", "datasets"),
)
"""What steps import from elsewhere; one that is not here is loaded by each job that needs it."""

CLIENT = """#!{python} -IS
import json, os, socket, sys
try:  # the first job of a step
    os.close(os.open({started!r} + "/" + sys.argv[2], os.O_CREAT | os.O_EXCL))
except FileExistsError:
    job = {{"words": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect({folder!r} + "/socket")
        socket.send_fds(server, [b"."], [0, 1, 2])
        server.sendall(json.dumps(job).encode())
        server.shutdown(socket.SHUT_WR)
        sys.exit(int(server.recv(4) or 1))
else:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


@contextmanager
def starts(project, started, libraries=LIBRARIES):
    """Start the steps of a project warm while the block runs.

    Args:
        project: where they run.
        started: a folder in which a file is made for each step that was started cold.
        libraries: what is loaded before a job.
    """
    with tempfile.TemporaryDirectory(prefix="warm") as folder:
        client = Path(folder, "bin/python")
        client.parent.mkdir()
        client.write_text(CLIENT.format(python=sys.executable, folder=folder, started=str(started)))
        client.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/socket")
            listener.listen()
            server = subprocess.Popen(
                [sys.executable, __file__, str(listener.fileno()), *libraries],
                env=project.variables(),
                pass_fds=[listener.fileno()],
            )
        project.environment["PATH"] = f"{client.parent}:{project.variables()['PATH']}"
        try:
            yield
        finally:
            del project.environment["PATH"]
            server.kill()
            server.wait()


def serve(listener, libraries):
    """Load the libraries; fork for each job, and return in its process what is to be run."""
    for name in libraries:
        importlib.import_module(name)
    gc.freeze()  # a job that looked for garbage here would copy every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return follow(connection)
        connection.close()


def follow(connection):
    """Fork once more and stay as the one that tells the client how the job ended."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile() as file:
        job = json.load(file)
    process = os.fork()
    if process == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return job
    for stream in streams:
        os.close(stream)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    connection.sendall(str(status if status >= 0 else 128 - status).encode())
    os._exit(0)


def become(job):
    """Be ``python -m module …`` in a folder and an environment."""
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    dash_m, module, *arguments = job["words"]
    assert dash_m == "-m"
    sys.path[0] = job["folder"]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _, number, *names = sys.argv
    become(serve(socket.socket(fileno=int(number)), names))
